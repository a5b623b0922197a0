"""`run.py validate --scan`: what is dropped under raw/ is taken in; what only a link leads to is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.add import add_unregistered
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.raw.ledger import read_entries
from tests.support.growth import settings

TEXT = "The boats lie down on the mud twice a day.\n"


class Told(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = find_data_directory(tmp_path / "data")
    (layout.raw / "mine").mkdir(parents=True)
    (layout.raw / "mine" / "good.txt").write_text(TEXT)
    return layout


def taken(layout: Layout) -> list[str]:
    return [entry.path for entry, _ in read_entries(layout.ledger)]


def test_no_link_leads_out_of_the_data_directory(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("secret.txt", "other.txt"):
        (elsewhere / name).write_text("a secret")
        (elsewhere / name).chmod(0o600)
    (layout.raw / "mine" / "link.txt").symlink_to(elsewhere / "secret.txt")
    (layout.raw / "mine" / "nowhere.txt").symlink_to(elsewhere / "nowhere.txt")
    (layout.raw / "folder").symlink_to(elsewhere)
    (layout.raw / "circle").symlink_to(layout.raw)
    told = Told()
    assert add_unregistered(settings(), layout, told) == 1
    assert taken(layout) == ["mine/good.txt"]
    assert {path.stat().st_mode & 0o777 for path in elsewhere.iterdir()} == {0o600}
    assert [message.partition(" is a link")[0] for message in told.messages] == [
        str(layout.raw / "mine" / name) for name in ("link.txt", "nowhere.txt")
    ]


def test_one_file_that_cannot_be_taken_keeps_no_other_away(layout: Layout) -> None:
    (layout.raw / "mine" / os.fsdecode(b"caf\xe9.txt")).write_text(TEXT * 2)
    (layout.raw / "mine" / "latin.txt").write_bytes(b"caf\xe9")
    (layout.raw / "mine" / "\x1b[2J.txt").write_bytes(b"\xff")
    told = Told()
    assert add_unregistered(settings(), layout, told) == 1
    assert taken(layout) == ["mine/good.txt"]
    assert sum("has a name that is not UTF-8" in message for message in told.messages) == 1
    assert sum("is not UTF-8: convert it" in message for message in told.messages) == 2
    assert all(message.isprintable() for message in told.messages)
    assert add_unregistered(settings(), layout, told) == 0


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o444), (0o600, 0o400), (0o640, 0o440)])
def test_a_file_that_is_taken_is_write_protected_and_no_more_readable(layout: Layout, before: int, after: int) -> None:
    path = layout.raw / "mine" / "good.txt"
    path.chmod(before)
    assert add_unregistered(settings(), layout, Silent()) == 1
    assert path.stat().st_mode & 0o777 == after
