"""Snapshots of the data directory in a slow folder that loses power: Google Drive, a network share, a USB stick.

    <folder>/packs/<group>-<number>.tar     a few large files, never changed once they have their name
    <folder>/snapshot_<number>.json         which packs make a snapshot, with digests; written last, its commit record

Tar files, because a mounted Drive knows no links, no modes, and takes a second a file. What never changes (documents,
checkpoints, models) is packed apart from the rest, and a pack is used again as long as all its files are still there as
they were: so a save costs what is new, and a text that was forgotten is in no new snapshot. The last two are kept.
Left out: the page cache, and whatever else a night can fetch or make again without noticing.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.raw.ledger import require_no_unfinished_erasure
from tasks.storage.atomic_files import sync_filesystem, sync_folder, write_json
from tasks.storage.run_lock import writer_lock

if TYPE_CHECKING:
    from typing_extensions import Buffer

FORMAT = 1
KEEP = 2
TRUTH_AND_LINEAGE = ("raw", "cleaned", "processed", "checkpoints", "models")
DISPOSABLE = ("state", "reports")
REST = "rest"


@dataclass(frozen=True, slots=True)
class File:
    """One file or link, relative to the data directory. The same size and time: the same file."""

    path: str
    size: int
    mtime_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class Pack:
    name: str
    bytes: int
    sha256: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `snapshot_<number>.json` says."""

    number: int
    id: str
    made: str
    packs: tuple[Pack, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of a save."""

    number: int
    files: int
    bytes: int
    bytes_written: int
    """The rest is in packs that existed before."""


class _DamagedError(Exception):
    """A snapshot does not match its record."""


def holds_data(layout: Layout) -> bool:
    """Whether there is data that a restore could overwrite. An interrupted restore is not: it can be finished."""
    return not _is_staged(layout) and any(_has_files(layout.root / name) for name in TRUTH_AND_LINEAGE)


# -- save ------------------------------------------------------------------------------------------------


def save(layout: Layout, folder: Path) -> Saved:
    """Add a snapshot to `folder`. A kill at any moment leaves the earlier ones whole.

    Raises:
        LockHeldError: a run is on.
        DataDirectoryError: there is nothing to save, the folder cannot be written, or holds snapshots of other data.
    """
    with writer_lock(layout.lock, "snapshot"):
        require_no_unfinished_erasure(layout)
        if not holds_data(layout):
            raise DataDirectoryError(f"{layout.root} holds no data yet: nothing to save.")
        try:
            return _save(layout, folder)
        except OSError as error:
            raise DataDirectoryError(
                f"cannot write a snapshot in {folder}: {error.strerror or error}. Those before it are whole."
            ) from error


def _save(layout: Layout, folder: Path) -> Saved:
    (folder / "packs").mkdir(parents=True, exist_ok=True)
    before = [one for one in _read_snapshots(folder) if _is_complete(one, folder)]
    _refuse_another_history(layout, before, folder)
    with _copy_of_database(layout) as database:
        files = {file.path: file for file in _scan(layout, database)}
        packs = [pack for pack in (before[0].packs if before else ()) if _still_true(pack, files)]
        packed = {file.path for pack in packs for file in pack.files}
        groups = defaultdict(list)
        for file in files.values():
            if file.path not in packed:
                groups[_group(file.path)].append(file)
        number = _next_number(folder)
        new = [_write_pack(layout, folder, f"{group}-{number:06d}.tar", groups[group], database) for group in groups]
    snapshot = Snapshot(number, uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds"), (*packs, *new))
    _write_whole(_record(folder, number), json.dumps({"format": FORMAT, **asdict(snapshot)}).encode())
    _remember(layout, snapshot)
    _prune(folder, [snapshot, *before][:KEEP])
    total = sum(file.size for file in files.values())
    return Saved(number, len(files), total, sum(pack.bytes for pack in new))


def _scan(layout: Layout, database: Path | None) -> Iterator[File]:
    for name in (*TRUTH_AND_LINEAGE, *DISPOSABLE):
        for folder, folders, names in os.walk(layout.root / name):
            at = Path(folder)
            left_out = (layout.pages, layout.blocklists, layout.state / "browser")
            folders[:] = sorted(one for one in folders if at / one not in left_out)
            links = [one for one in folders if (at / one).is_symlink()]
            for path in (at / one for one in sorted([*names, *links])):
                temporary = path.name.startswith(".") and path.name.endswith(".tmp")
                if not (temporary or path.name.startswith((layout.database.name, ".snapshot")) or path == _own(layout)):
                    yield _file(path, str(path.relative_to(layout.root)))
    if database:
        yield _file(database, str(layout.database.relative_to(layout.root)))


def _file(path: Path, name: str) -> File:
    status = path.lstat()
    return File(name, status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))


def _group(path: str) -> str:
    """Returns the group of a file. Files that are written once and removed together are packed together."""
    parts = path.split("/")
    if parts[0] in ("raw", "cleaned") and path.endswith(".txt"):
        return "documents"
    if parts[0] in ("checkpoints", "models") and len(parts) > 2:
        return f"{parts[0]}-{parts[1]}"
    return REST


def _still_true(pack: Pack, files: dict[str, File]) -> bool:
    return not pack.name.startswith(REST) and all(files.get(file.path) == file for file in pack.files)


@contextmanager
def _copy_of_database(layout: Layout) -> Iterator[Path | None]:
    """Yields a consistent copy beside the database, whatever its write-ahead log holds; None where there is none."""
    copy = layout.state / ".snapshot.sqlite"
    copy.unlink(missing_ok=True)
    try:
        if layout.database.exists():
            try:
                with closing(sqlite3.connect(layout.database)) as db, closing(sqlite3.connect(copy)) as target:
                    db.backup(target)
            except sqlite3.DatabaseError:
                copy.unlink(missing_ok=True)  # damaged: the next night sets it aside, and makes it anew
        yield copy if copy.exists() else None
    finally:
        copy.unlink(missing_ok=True)


def _write_pack(layout: Layout, folder: Path, name: str, files: list[File], database: Path | None) -> Pack:
    target = folder / "packs" / name
    temporary = target.with_name(f".{name}.tmp")
    with open(temporary, "wb") as file:
        hashing = _Hashing(file)
        with tarfile.open(fileobj=hashing, mode="w|") as tar:
            for one in files:
                path = layout.root / one.path
                _add(tar, database if database and path == layout.database else path, one.path)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)
    return Pack(name, hashing.bytes, hashing.sha256.hexdigest(), tuple(files))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tar.gettarinfo(path, name)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.isreg():
        with open(path, "rb") as file:
            tar.addfile(member, file)
    else:
        tar.addfile(member)


def _prune(folder: Path, kept: list[Snapshot]) -> None:
    """Remove old snapshots, records first: a record without its packs would still look like a snapshot."""
    records = {_record(folder, one.number).name for one in kept}
    packs = {pack.name for one in kept for pack in one.packs}
    for path in [*folder.glob("snapshot_*"), *folder.glob(".snapshot_*")]:
        if path.name not in records:
            path.unlink()
    for path in (folder / "packs").iterdir():
        if path.name not in packs:
            path.unlink()


# -- restore ---------------------------------------------------------------------------------------------


def restore(folder: Path, layout: Layout) -> Snapshot | None:
    """Restore the newest whole snapshot into an empty data directory. Returns it; None where there is no snapshot.

    A damaged one is set aside and the one before it taken. A kill at any moment: call it again.

    Raises:
        LockHeldError: a run is on.
        DataDirectoryError: there is data already, or no snapshot is whole.
    """
    with writer_lock(layout.lock, "restore"):
        staging = _staging(layout)
        if not _is_staged(layout):  # else a restore was interrupted while it moved files: finish it
            if holds_data(layout):
                raise DataDirectoryError(
                    f"{layout.root} holds data, which a snapshot must not overwrite: go on with it, or move it aside."
                )
            if not _stage(folder, staging):
                return None
        snapshot = _read(staging / "whole.json")
        assert snapshot is not None
        _move_in(staging / "data", layout.root)
        _remember(layout, snapshot)
        shutil.rmtree(staging)
        return snapshot


def _staging(layout: Layout) -> Path:
    return layout.root / ".restoring"


def _is_staged(layout: Layout) -> bool:
    return (_staging(layout) / "whole.json").exists()


def _stage(folder: Path, staging: Path) -> bool:
    """Unpack the newest whole snapshot beside the data; `whole.json` says that all of it is there and right."""
    damage = []
    for snapshot in _read_snapshots(folder):
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "data").mkdir(parents=True)
        try:
            for pack in snapshot.packs:
                _unpack(folder / "packs" / pack.name, pack, staging / "data")
        except (_DamagedError, FileNotFoundError, tarfile.TarError) as error:
            record = _record(folder, snapshot.number)
            os.replace(record, record.with_suffix(".damaged"))
            damage.append(f"{record.name}: {error}")
            continue
        sync_filesystem(staging)
        write_json(staging / "whole.json", {"format": FORMAT, **asdict(snapshot)})
        return True
    shutil.rmtree(staging, ignore_errors=True)
    if damage:
        raise DataDirectoryError(f"no snapshot in {folder} is whole ({'; '.join(damage)}).")
    return False


def _unpack(path: Path, pack: Pack, target: Path) -> None:
    """Extract a pack and compare it with its record. Raises what a damaged file raises."""
    expected = {file.path: file for file in pack.files}
    with open(path, "rb") as source:
        hashing = _Hashing(source)
        with tarfile.open(fileobj=hashing, mode="r|") as tar:
            for member in tar:
                if member.name not in expected:
                    raise _DamagedError(f"{pack.name} holds {member.name}, of which the record knows nothing")
                _extract(tar, member, target, expected.pop(member.name))
        while hashing.read(1 << 20):
            pass
    if hashing.sha256.hexdigest() != pack.sha256 or expected:
        raise _DamagedError(f"{pack.name} is not what was written")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, file: File) -> None:
    """Extract by hand: Python before 3.11.4 has no filter that keeps files in the folder and their modes."""
    path = target / member.name
    if not path.resolve().is_relative_to(target.resolve()) or not (member.isreg() or member.issym()):
        raise _DamagedError(f"{member.name} has no place in a data directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    else:
        content = tar.extractfile(member)
        assert content is not None
        with open(path, "xb") as copy:
            shutil.copyfileobj(content, copy, 1 << 20)
        path.chmod(file.mode)
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns), follow_symlinks=False)


def _move_in(staged: Path, root: Path) -> None:
    for child in sorted(staged.iterdir()):
        target = root / child.name
        if child.name not in DISPOSABLE and _has_files(target):
            raise DataDirectoryError(f"{target} was filled while a snapshot was restored: move it aside.")
        shutil.rmtree(target, ignore_errors=True)
        os.rename(child, target)
    sync_folder(root)


# -- what both need --------------------------------------------------------------------------------------


class _Hashing(io.BufferedIOBase):
    """A file that computes the digest and the size of what is read or written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256, self.bytes = file, hashlib.sha256(), 0

    def write(self, content: Buffer, /) -> int:
        self._pass(bytes(content))
        return self.file.write(content)

    def read(self, size: int | None = -1, /) -> bytes:
        content = self.file.read(-1 if size is None else size)
        self._pass(content)
        return content

    def _pass(self, content: bytes) -> None:
        self.sha256.update(content)
        self.bytes += len(content)


def _record(folder: Path, number: int) -> Path:
    return folder / f"snapshot_{number:06d}.json"


def _read_snapshots(folder: Path) -> list[Snapshot]:
    """Returns the snapshots, newest first, without records that cannot be read."""
    found = map(_read, sorted(folder.glob("snapshot_*.json"), reverse=True))
    return [snapshot for snapshot in found if snapshot]


def _read(record: Path) -> Snapshot | None:
    try:
        values: dict[str, Any] = json.loads(record.read_bytes())
        if values.pop("format") != FORMAT:
            return None
        packs = [pack | {"files": tuple(File(**file) for file in pack["files"])} for pack in values.pop("packs")]
        return Snapshot(packs=tuple(Pack(**pack) for pack in packs), **values)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_complete(snapshot: Snapshot, folder: Path) -> bool:
    """Compares sizes only, which needs no reading; a restore checks every byte."""
    try:
        return all((folder / "packs" / pack.name).stat().st_size == pack.bytes for pack in snapshot.packs)
    except FileNotFoundError:
        return False


def _next_number(folder: Path) -> int:
    names = [path.stem for path in (*folder.glob("snapshot_*"), *(folder / "packs").glob("*.tar"))]
    return 1 + max((int(name[-6:]) for name in names if name[-6:].isdecimal()), default=0)


def _own(layout: Layout) -> Path:
    """Returns the file that names the snapshots which this data directory continues."""
    return layout.state / "snapshots.json"


def _remembered(layout: Layout) -> list[str]:
    try:
        return list(json.loads(_own(layout).read_text())["ids"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _remember(layout: Layout, snapshot: Snapshot) -> None:
    layout.state.mkdir(exist_ok=True)
    write_json(_own(layout), {"ids": [*_remembered(layout), snapshot.id][-2 * KEEP :]})


def _refuse_another_history(layout: Layout, before: list[Snapshot], folder: Path) -> None:
    """Raise where two notebooks use one folder: they would delete each other's nights."""
    if before and before[0].id not in _remembered(layout):
        raise DataDirectoryError(
            f"{folder} holds a snapshot ({before[0].made}) that {layout.root} does not go on from: another notebook "
            "saved there, or it is of other data. Restore it into an empty data directory, or save into another folder."
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Like `atomic_files.write_atomically`, but a mounted Drive has no modes and cannot sync a folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    with suppress(OSError):
        sync_folder(path.parent)


def _has_files(folder: Path) -> bool:
    return any(names for _, _, names in os.walk(folder))
