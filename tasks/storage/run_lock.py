"""One writer: a kernel file lock on the data directory, freed by the kernel when its holders die.

The training child inherits the open file, so that a flow that was killed while its child still trains
keeps the next run out. Browsers and extraction children do not inherit it: an orphan blocks nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tasks.contracts.errors import LockHeldError

# A killed run's training child dies with it, but the kernel may still be taking it down.
GRACE_SECONDS = 2.0


@contextmanager
def writer_lock(path: Path, purpose: str) -> Iterator[int]:
    """Hold the lock inside the block. Yields its file descriptor, for the training child to inherit.

    Raises:
        LockHeldError: another process has it; the message says which.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(handle, path)
        holder = {"pid": os.getpid(), "purpose": purpose, "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(holder) + "\n").encode(), 0)
        yield handle
    finally:
        # Closing gives the lock up only when no child holds the same open file.
        os.close(handle)


@contextmanager
def reader_lock(path: Path) -> Iterator[None]:
    """Keep writers out inside the block, for one who may not write. Raises LockHeldError like `writer_lock`."""
    if not path.exists():  # nobody ever wrote there
        yield
        return
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _take(handle, path)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise LockHeldError(f"{_holder(path)} has {path.parent}: let it finish, then run again.") from error
            time.sleep(0.1)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"another run ({holder['purpose']}, process {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, KeyError):
        return "another run"
