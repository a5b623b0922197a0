from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from tasks.contracts.errors import DataDirectoryError, LockHeldError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.export import snapshot
from tasks.export.snapshot import holds_data, restore, save
from tasks.storage.run_lock import writer_lock


def put(layout: Layout, name: str, content: bytes, mode: int = 0o644) -> None:
    path = layout.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def night(layout: Layout, number: int) -> None:
    """What a night leaves, as far as a snapshot sees it: new documents, a longer ledger, a newer checkpoint."""
    document = f"source_a/{number}.txt"
    put(layout, f"raw/{document}", f"text {number}\n".encode() * 1000, 0o444)
    put(layout, f"cleaned/{document}", f"text {number}\n".encode() * 900)
    with open(layout.ledger, "a") as ledger:
        ledger.write(f'{{"seq": {number}}}\n')
    put(layout, "processed/train.bin", bytes(100 * number))
    put(layout, f"checkpoints/step_{number}/model.safetensors", os.urandom(50_000))
    put(layout, f"models/{number}/model.safetensors", os.urandom(20_000))
    link = layout.models / "latest"
    link.unlink(missing_ok=True)
    link.symlink_to(str(number))
    put(layout, "state/pages/ab/page.gz", b"can be fetched again")
    put(layout, f"reports/{number}/report.json", b"{}")
    with closing(sqlite3.connect(layout.database)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE IF NOT EXISTS nights (number)")
        db.execute("INSERT INTO nights VALUES (?)", (number,))
        db.commit()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return find_data_directory(tmp_path / "data")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return tmp_path / "drive"


@pytest.fixture
def other(tmp_path: Path) -> Layout:
    """The next machine's empty data directory."""
    return find_data_directory(tmp_path / "next")


def everything(layout: Layout) -> dict[str, tuple[int, int, bytes | str]]:
    """Mode, time and content of all that a snapshot is to bring back."""
    found: dict[str, tuple[int, int, bytes | str]] = {}
    for path in layout.root.rglob("*"):
        name = str(path.relative_to(layout.root))
        if path.is_dir() and not path.is_symlink():
            continue
        if name != "lock" and not name.startswith("state/"):
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes()
            found[name] = (stat.S_IMODE(status.st_mode), status.st_mtime_ns, content)
    return found


def nights(layout: Layout) -> list[int]:
    with closing(sqlite3.connect(layout.database)) as db:
        return [number for (number,) in db.execute("SELECT number FROM nights")]


def test_all_comes_back_as_it_was(layout: Layout, drive: Path, other: Layout) -> None:
    night(layout, 1)
    save(layout, drive)
    restored = restore(drive, other)
    assert restored and restored.number == 1
    assert everything(other) == everything(layout)
    assert nights(other) == [1]
    assert (other.models / "latest").resolve() == other.models / "1"
    assert not other.pages.exists(), "the page cache is no part of it"


def test_an_open_database_is_copied_with_what_its_log_holds(layout: Layout, drive: Path, other: Layout) -> None:
    night(layout, 1)
    with closing(sqlite3.connect(layout.database)) as db:
        db.execute("INSERT INTO nights VALUES (7)")
        db.commit()
        assert layout.database.with_name("state.sqlite-wal").stat().st_size
        save(layout, drive)
    restore(drive, other)
    assert nights(other) == [1, 7]


def test_a_damaged_database_is_left_out(layout: Layout, drive: Path, other: Layout) -> None:
    night(layout, 1)
    layout.database.write_bytes(b"no database" * 1000)
    save(layout, drive)
    restore(drive, other)
    assert everything(other) == everything(layout) and not other.database.exists()


def test_a_save_writes_what_is_new(layout: Layout, drive: Path, other: Layout) -> None:
    for number in range(1, 30):
        night(layout, number)
    first = save(layout, drive)
    night(layout, 30)
    second = save(layout, drive)
    assert second.files > first.files and second.bytes_written < first.bytes_written / 10
    restore(drive, other)
    assert everything(other) == everything(layout)
    # What came back is known as what is there: the next save writes next to nothing.
    again = save(other, drive)
    assert again.bytes_written < 100_000


def test_two_are_kept_and_packs_of_none_are_removed(layout: Layout, drive: Path) -> None:
    for number in range(1, 6):
        night(layout, number)
        if number > 2:
            shutil.rmtree(layout.checkpoints / f"step_{number - 2}")
        save(layout, drive)
    assert sorted(path.name for path in drive.glob("snapshot_*")) == ["snapshot_000004.json", "snapshot_000005.json"]
    packs = {path.name for path in (drive / "packs").iterdir()}
    assert {name for name in packs if name.startswith("checkpoints")} == {
        f"checkpoints-step_{number}-{number:06d}.tar" for number in (3, 4, 5)
    }
    assert {name for name in packs if name.startswith("rest")} == {"rest-000004.tar", "rest-000005.tar"}


def test_a_forgotten_text_leaves_with_the_snapshots_that_knew_it(layout: Layout, drive: Path) -> None:
    for number in (1, 2):
        night(layout, number)
    save(layout, drive)
    for folder in ("raw", "cleaned"):
        (layout.root / folder / "source_a/1.txt").unlink()
    for _ in range(2):
        save(layout, drive)
    packs = b"".join(path.read_bytes() for path in (drive / "packs").iterdir())
    assert b"text 2" in packs and b"text 1" not in packs


def flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "torn record"])
def test_a_damaged_one_is_set_aside_for_the_one_before(layout: Layout, drive: Path, other: Layout, damage: str) -> None:
    night(layout, 1)
    save(layout, drive)
    before = everything(layout)
    night(layout, 2)
    save(layout, drive)
    pack = drive / "packs" / "documents-000002.tar"
    match damage:
        case "flipped":
            flip(pack)
        case "cut":
            os.truncate(pack, pack.stat().st_size // 2)
        case "gone":
            pack.unlink()
        case "torn record":
            record = drive / "snapshot_000002.json"
            os.truncate(record, record.stat().st_size // 2)
    restored = restore(drive, other)
    assert restored and restored.number == 1
    assert everything(other) == before
    # And life goes on from there.
    night(other, 3)
    assert save(other, drive).number == 3
    assert {path.name for path in drive.glob("snapshot_*")} == {"snapshot_000001.json", "snapshot_000003.json"}


def test_no_whole_one_is_said(layout: Layout, drive: Path, other: Layout) -> None:
    night(layout, 1)
    save(layout, drive)
    flip(drive / "packs" / "rest-000001.tar")
    with pytest.raises(DataDirectoryError, match="is whole"):
        restore(drive, other)
    assert not holds_data(other)


def test_nothing_there_is_nothing_restored(drive: Path, other: Layout) -> None:
    assert restore(drive, other) is None
    with pytest.raises(DataDirectoryError, match="nothing to save"):
        save(other, drive)


def test_data_is_never_overwritten(layout: Layout, drive: Path, other: Layout) -> None:
    night(layout, 1)
    save(layout, drive)
    night(other, 2)
    before = everything(other)
    with pytest.raises(DataDirectoryError, match="must not overwrite"):
        restore(drive, other)
    assert everything(other) == before


def test_other_data_does_not_push_snapshots_out(layout: Layout, drive: Path, other: Layout) -> None:
    """Two notebooks share a Drive; or a fresh one begins without having restored."""
    night(layout, 1)
    save(layout, drive)
    night(other, 1)
    with pytest.raises(DataDirectoryError, match="does not go on from"):
        save(other, drive)
    shutil.rmtree(other.root)
    restore(drive, find_data_directory(other.root))
    night(other, 2)
    save(other, drive)
    with pytest.raises(DataDirectoryError, match="does not go on from"):
        save(layout, drive)


@pytest.mark.parametrize("moment", ["packs", "record"])
def test_a_save_that_was_cut_leaves_the_one_before(
    layout: Layout, drive: Path, other: Layout, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    night(layout, 1)
    save(layout, drive)
    before = everything(layout)
    night(layout, 2)
    with monkeypatch.context() as patch:

        def power_cut(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(snapshot, "_add" if moment == "packs" else "_write_whole", power_cut)
        with pytest.raises(KeyboardInterrupt):
            save(layout, drive)
    restored = restore(drive, other)
    assert restored and restored.number == 1 and everything(other) == before
    save(layout, drive)
    assert not [path for path in drive.rglob("*") if path.name.startswith(".")]


def test_a_restore_that_was_cut_is_finished_by_the_next(
    layout: Layout, drive: Path, other: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(layout, 1)
    save(layout, drive)
    rename, moved = os.rename, 0

    def cut_after_two(source: Path, target: Path) -> None:
        nonlocal moved
        moved += 1
        if moved == 3:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", cut_after_two)
        with pytest.raises(KeyboardInterrupt):
            restore(drive, other)
    assert restore(drive, other)
    assert everything(other) == everything(layout)


def test_no_snapshot_of_a_running_night(layout: Layout, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night(layout, 1)
    monkeypatch.setattr("tasks.storage.run_lock.GRACE_SECONDS", 0.0)
    with writer_lock(layout.lock, "night"), pytest.raises(LockHeldError):
        save(layout, drive)


def test_a_folder_that_cannot_be_written_is_said(layout: Layout, tmp_path: Path) -> None:
    night(layout, 1)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataDirectoryError, match="cannot write a snapshot"):
        save(layout, tmp_path / "file")


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "raw/source_a/../../../outside"])
def test_a_pack_may_not_reach_out_of_the_data_directory(tmp_path: Path, other: Layout, drive: Path, name: str) -> None:
    night(other, 1)
    save(other, drive)
    shutil.rmtree(other.root)
    pack = drive / "packs" / "rest-000001.tar"
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    pack.write_bytes(content.getvalue())
    record = drive / "snapshot_000001.json"
    values = json.loads(record.read_text())
    rest = next(pack for pack in values["packs"] if pack["name"] == "rest-000001.tar")
    rest["sha256"] = hashlib.sha256(content.getvalue()).hexdigest()
    rest["files"] = [{"path": name, "size": 0, "mtime_ns": 0, "mode": 0o644}]
    record.write_text(json.dumps(values))
    with pytest.raises(DataDirectoryError, match="has no place in a data directory"):
        restore(drive, find_data_directory(other.root))
