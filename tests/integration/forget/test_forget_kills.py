"""A forgetting that is killed, at any of its file operations, is finished by whoever comes next."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.forget import forget
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import PROJECT, Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.forget import erasure
from tasks.forget.ledger_redaction import Line
from tasks.forget.recovery import ForgettingRecovery
from tasks.forget.request import Request
from tasks.maintain.verify import verify
from tasks.raw.catalog import Catalog
from tasks.raw.ledger import read_entries, require_no_unfinished_erasure
from tasks.run_context import open_run
from tasks.storage.state_db import open_state
from tests.support.corpora import document, prose
from tests.support.growth import derived_bytes, grow, rebuilt_bytes, settings
from tests.support.remains import places, secrets_of, tokens_left

CHOSEN = settings()
GONE = [replace(document(seed, url=f"https://gone.example/{seed}.html"), title=f"Gone {seed}.") for seed in range(8)]
COPY = replace(document(9, prose(1), "https://copy.example/9.html"), title="Gone 9.")
STAYING = [document(seed, url=f"https://stays.example/{seed}.html") for seed in range(20, 40)]
MOMENTS = 20

# A process that has imported all; for each line "n data" it becomes two. The child forgets, and kills itself at the
# n-th time that it opens, renames, removes or makes something; n = 0 counts them. Then a line says what became of it.
DYING = """
import os, signal, sys
from flows.forget import forget
from tasks.forget.request import Request
from tasks.forget.erasure import nowhere_else
from tasks.contracts.paths import find_data_directory
from tasks.contracts.run_record import Silent
from tests.support.growth import settings

def die(moment, data):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        changes = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "sqlite3.connect")
        if event in changes and data in str(arguments[0]):
            if event != "open" or "r" != arguments[1]:
                seen += 1
                if seen == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    forget(Request(domain="gone.example"), settings(), find_data_directory(data), Silent(), nowhere_else)
    print(seen, end=" ", flush=True)

for line in sys.stdin:
    moment, data = line.rstrip().split(" ", 1)
    if not (child := os.fork()):
        die(int(moment), data)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Killer = subprocess.Popen[str]


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    command = [sys.executable, "-c", DYING]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def die_at(killer: Killer, layout: Layout, moment: int) -> list[int]:
    """Forget in another process until that moment. Its file operations, if it came to its end, and its exit status."""
    assert killer.stdin and killer.stdout
    print(moment, layout.root, file=killer.stdin, flush=True)
    return [int(word) for word in killer.stdout.readline().split()]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = find_data_directory(tmp_path_factory.mktemp("grown"))
    grow(layout, [*GONE[:4], *STAYING[:10], COPY, *GONE[4:], *STAYING[10:]], CHOSEN)
    return layout.root


@pytest.fixture
def layout(grown: Path, tmp_path: Path) -> Layout:
    shutil.copytree(grown, tmp_path / "data")
    return find_data_directory(tmp_path / "data")


@pytest.fixture(scope="module")
def golden(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is left and derived where nothing is killed, no matter when it was killed elsewhere."""
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(grown, folder / "data")
    layout = find_data_directory(folder / "data")
    forget(Request(domain="gone.example"), CHOSEN, layout, Silent(), erasure.nowhere_else)
    left = rebuilt_bytes(layout, folder / "rebuilt", CHOSEN)
    assert derived_bytes(layout.root) == left
    return left


def require_done(layout: Layout, golden: dict[str, bytes]) -> None:
    assert not layout.intent.exists()
    assert places(layout.root, secrets_of([*GONE, COPY])) == []
    assert tokens_left(layout, [one.text for one in GONE]) == []
    entries = [entry for entry, _ in read_entries(layout.ledger)]
    assert [entry.sha256 for entry in entries if not entry.forgotten] == [one.sha256 for one in STAYING]
    assert derived_bytes(layout.root) == golden
    assert [one for one in verify(layout) if one.is_damage] == []
    db = open_state(layout.database)
    corpus = Catalog(layout, db)
    assert corpus.is_forgotten([GONE[0].url, COPY.url], "")
    db.close()


def moments(killer: Killer, grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    copy = tmp_path_factory.mktemp("counted") / "data"
    shutil.copytree(grown, copy)
    total, status = die_at(killer, find_data_directory(copy), 0)
    assert status == 0
    yield from (1 + total * i // MOMENTS for i in range(MOMENTS))


def test_a_kill_at_any_moment_is_made_good(
    killer: Killer, grown: Path, golden: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    phases = set()
    for moment in moments(killer, grown, tmp_path_factory):
        folder = tmp_path_factory.mktemp("killed")
        shutil.copytree(grown, folder / "data")
        layout = find_data_directory(folder / "data")
        assert die_at(killer, layout, moment) == [-signal.SIGKILL]
        intent = erasure.read_intent(layout)
        phase = intent.phase if intent else None
        if intent is None:  # it died before anything was touched, or at the very end
            forget(Request(domain="gone.example"), CHOSEN, layout, Silent(), erasure.nowhere_else)
        elif moment % 2:
            forget(Request(), CHOSEN, layout, Silent(), erasure.nowhere_else)
        else:  # as the next night does
            with open_run(CHOSEN, layout, "a night", Silent(), ForgettingRecovery(erasure.nowhere_else)):
                pass
        require_done(layout, golden)
        if phase not in phases:  # once a phase: what is left of raw/ says the same
            assert rebuilt_bytes(layout, folder / "rebuilt", CHOSEN) == golden
        phases.add(phase)
    assert {"scrub", "redact", "derive"} <= phases


def test_killed_again_while_it_is_finished(killer: Killer, layout: Layout, golden: dict[str, bytes]) -> None:
    assert die_at(killer, layout, 40) == [-signal.SIGKILL]
    assert layout.intent.exists()
    assert die_at(killer, layout, 30) == [-signal.SIGKILL]
    assert layout.intent.exists()
    forget(Request(), CHOSEN, layout, Silent(), erasure.nowhere_else)
    require_done(layout, golden)


@pytest.mark.parametrize("torn", [1, 40, 200])
def test_a_line_that_is_half_redacted_is_mended(
    layout: Layout, golden: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, torn: int
) -> None:
    """A power cut may leave any part of a write; the intent has the whole lines."""

    def half(layout: Layout, lines: tuple[Line, ...]) -> None:
        (first, line), (second, other), *_ = lines
        with open(layout.ledger, "r+b") as file:
            file.seek(first)
            file.write(line.encode())
            file.seek(second)
            file.write(other.encode()[:torn])
        raise OSError("the power failed")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="power"):
        patch.setattr(erasure, "overwrite", half)
        forget(Request(domain="gone.example"), CHOSEN, layout, Silent(), erasure.nowhere_else)
    with open_run(CHOSEN, layout, "a night", Silent(), ForgettingRecovery()):
        pass
    require_done(layout, golden)


def test_until_it_is_finished_nothing_reads_what_is_half_there(killer: Killer, layout: Layout) -> None:
    assert die_at(killer, layout, 40) == [-signal.SIGKILL]
    with pytest.raises(DataDirectoryError, match="forgetting was cut"):
        require_no_unfinished_erasure(layout)
    intent = erasure.read_intent(layout)
    assert intent and intent.phase == erasure.SCRUB
    with pytest.raises(DataDirectoryError, match="forgetting was cut"):
        with open_run(CHOSEN, layout, "add", Silent(), ForgettingRecovery()):
            pass
