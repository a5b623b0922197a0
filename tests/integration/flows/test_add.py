"""`run.py add` of many small files: how far it is, what it costs the disk, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import flows.add
from flows.add import add_files, find_files
from tasks.contracts.paths import PROJECT, Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.maintain.verify import verify
from tasks.raw.ledger import read_entries
from tests.support.growth import settings

FILES, BATCH = 130, 60  # two batches that are flushed together, and a small one
MOMENTS = 8

# Adds, and kills itself at the n-th time that it opens, renames, removes or makes something; n = 0 counts them.
DYING = """
import os, signal, sys
from pathlib import Path
import flows.add
from tasks.contracts.paths import find_data_directory
from tasks.contracts.run_record import Silent
from tests.support.growth import settings

moment, data, notes, flows.add.BATCH_FILES = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
layout, seen = find_data_directory(data), 0
def count(event, arguments):
    global seen
    changes = ("open", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect")
    if event in changes and data in str(arguments[0]) and not (event == "open" and arguments[1] == "r"):
        seen += 1
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
flows.add.add_files(flows.add.find_files([notes]), settings(), layout, Silent())
print(seen)
"""


class Told(Silent):
    """Keeps what it was told of the progress."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        self.steps.append((what, done, of))


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes").resolve()
    for number in range(FILES):
        (folder / f"{number:03d}.txt").write_text(f"Note {number}: the tide came in at {number} past noon.")
    return folder


def require_all_once(layout: Layout, notes: Path) -> None:
    entries = [entry for entry, _ in read_entries(layout.ledger)]
    assert [entry.seq for entry in entries] == list(range(FILES))
    assert sorted(entry.url for entry in entries) == sorted(path.as_uri() for path in notes.iterdir())
    assert not list(layout.raw.rglob(".*.tmp"))
    assert [one for one in verify(layout) if one.is_damage] == []


def test_many_small_files_cost_few_flushes_and_tell_how_far_it_is(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[int] = []
    fsync = os.fsync

    def count(file: int) -> None:
        flushes.append(file)
        fsync(file)

    monkeypatch.setattr(os, "fsync", count)
    monkeypatch.setattr(flows.add, "BATCH_FILES", BATCH)
    layout, told = find_data_directory(tmp_path / "data"), Told()
    assert add_files(find_files([notes]), settings(), layout, told) == {"stored": FILES}
    assert told.steps == [("add", 60, FILES), ("add", 120, FILES), ("add", 130, FILES)]
    assert len(flushes) < FILES / 3
    require_all_once(layout, notes)


def test_long_files_are_not_all_held_in_memory(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows.add, "BATCH_BYTES", 1000)
    batches = list(flows.add._batches(find_files([notes])))
    assert max(sum(path.stat().st_size for path in batch[:-1]) for batch in batches) < 1000
    assert [path for batch in batches for path in batch] == find_files([notes])


def test_a_kill_loses_nothing_and_doubles_nothing(notes: Path, tmp_path: Path) -> None:
    def die(moment: int, data: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", DYING, str(moment), str(data), str(notes), str(BATCH)]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    total = int(die(0, tmp_path / "whole").stdout)
    assert total > 3 * FILES
    for number in range(MOMENTS):
        moment = 1 + total * number // MOMENTS
        layout = find_data_directory(tmp_path / str(moment))
        assert die(moment, layout.root).returncode == -signal.SIGKILL
        stored = sum(1 for _ in read_entries(layout.ledger))
        counts = add_files(find_files([notes]), settings(), layout, Silent())
        assert counts["stored"] + counts["unchanged"] == FILES and counts["unchanged"] >= stored
        require_all_once(layout, notes)
