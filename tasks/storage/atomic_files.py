"""Writing so that a power cut leaves the old file or the new one, never half of one."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.contracts.atomic_files import sync

# Of more files than these the whole file system is flushed, which may hold other programs' work, too: a disk that turns
# needs 10 ms for each file that is flushed alone.
FLUSHED_TOGETHER = 50


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename is not until its folder is synced)."""
    sync(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path; what the block writes there becomes `path`, whole and durable."""
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)  # one that a kill left may be read-only
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def temporary_of(path: Path) -> Path:
    """Returns the name that a file has until it is whole."""
    return path.with_name(f".{path.name}.tmp")


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a whole file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        temporary.chmod(mode)


def write_batch(files: Sequence[tuple[Path, bytes]], *, mode: int = 0o644) -> None:
    """Write whole files of one file system. All are durable before the first gets its name; then the names are, too."""
    temporaries = [temporary_of(path) for path, _ in files]
    try:
        for temporary, (_, content) in zip(temporaries, files, strict=True):
            temporary.unlink(missing_ok=True)  # one that a kill left may be read-only
            temporary.write_bytes(content)
            temporary.chmod(mode)
        if len(files) > FLUSHED_TOGETHER:
            sync_filesystem(files[0][0].parent)
        else:
            for temporary in temporaries:
                sync(temporary)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise
    for temporary, (path, _) in zip(temporaries, files, strict=True):
        os.replace(temporary, path)
    for folder in {path.parent for path, _ in files}:
        sync_folder(folder)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with keys in the order given, so that equal values make equal bytes."""
    write_atomically(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def read_json(path: Path, kind: type = dict) -> Any:
    """Returns what `write_json` wrote; None where the file is missing, damaged or not of this kind."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, kind) else None


def append_durably(path: Path, content: bytes) -> None:
    """Append and fsync. A kill may leave a torn end: the caller must check for it."""
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_filesystem(folder: Path) -> None:
    """Flush everything written below the file system of `folder`: one call for a batch of small files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), f"cannot flush the file system of {folder}")
    finally:
        os.close(handle)
