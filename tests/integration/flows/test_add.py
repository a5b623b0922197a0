"""Files of the user's own, many at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import flows.add
from flows.add import add_files, find_files
from tasks.contracts.paths import find_data_directory
from tasks.contracts.settings import Settings
from tasks.raw.ledger import read_entries


class Heard:
    """What was told while the files were added."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.progressed: list[tuple[str, int, int]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        self.progressed.append((what, done, of))


def test_many_small_files_are_stored_in_their_order_and_progress_is_told(tmp_path: Path) -> None:
    folder, heard = tmp_path / "notes", Heard()
    folder.mkdir()
    for number in range(450):
        (folder / f"{number:03}.txt").write_text(f"A note, the one with the number {number}.\n")
    (folder / "100.txt").write_bytes(b"\xff\xfe\0\0 no text")
    layout = find_data_directory(tmp_path / "data")
    counts = add_files(find_files([folder]), Settings(), layout, heard)
    assert counts == {"stored": 449, "unreadable": 1}
    assert heard.progressed == [("add", 200, 450), ("add", 400, 450), ("add", 450, 450)]
    assert len(heard.messages) == 1 and "100.txt" in heard.messages[0]
    names = [Path(entry.url).name for entry, _ in read_entries(layout.ledger)]
    assert names == [f"{number:03}.txt" for number in range(450) if number != 100]
    assert add_files(find_files([folder]), Settings(), layout, Heard()) == {"unchanged": 449, "unreadable": 1}


def test_long_texts_make_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.add, "BATCH_BYTES", 3000)
    heard = Heard()
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"Text {number} of many words. " * 70)
    add_files(find_files([tmp_path]), Settings(), find_data_directory(tmp_path / "data"), heard)
    assert heard.progressed == [("add", 2, 5), ("add", 4, 5), ("add", 5, 5)]
