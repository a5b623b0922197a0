"""Digests (sha256): of a whole file, of each megabyte of a file that grows, and of a small record that carries its own.

A file that is only appended to has one digest a megabyte, so that appending costs the last of them, and reading costs
those that are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

MEGABYTE = 2**20
SEAL = "metadata_digest"
"""The key of a record's own digest."""


def file_digest(path: Path) -> str:
    """Returns the sha256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- files that grow -------------------------------------------------------------------------------------


def block_digest(path: Path, block: int, size: int) -> str:
    """Returns the digest of one megabyte of a file of which `size` bytes count; the last one may be shorter."""
    start = block * MEGABYTE
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        return hashlib.sha256(file.read(min(MEGABYTE, size - start))).hexdigest()


def digests_from(path: Path, block: int, size: int) -> list[str]:
    """Returns the digest of each megabyte from one on."""
    return [block_digest(path, one, size) for one in range(block, blocks(size))]


def blocks(size: int) -> int:
    """Returns the number of megabytes, the last one whole or not."""
    return -(-size // MEGABYTE)


def extended(path: Path, digests: list[str], before: int, size: int) -> list[str]:
    """Returns the digests of a file that grew from `before` bytes to `size`.

    Raises ValueError where the megabyte that was appended to is not what it was: its new digest would hide that.
    """
    whole = before // MEGABYTE
    if before % MEGABYTE and block_digest(path, whole, before) != digests[whole]:
        raise ValueError(f"{path} is not what was written: its megabyte {whole} differs from its digest")
    return digests[:whole] + digests_from(path, whole, size)


def damaged_blocks(path: Path, digests: list[str], size: int) -> Iterator[int]:
    """Yields the megabytes, counted from 0, that are not what was written. Raises OSError."""
    for block, (found, expected) in enumerate(zip_longest(_read_digests(path, size), digests)):
        if found != expected:
            yield block


def _read_digests(path: Path, size: int) -> Iterator[str]:
    return (block_digest(path, block, size) for block in range(blocks(size)))


# -- small records ---------------------------------------------------------------------------------------


def record_text(record: dict[str, Any]) -> str:
    """Returns the text of a record with its own digest."""
    return as_json(sealed(record))


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record with its own digest, in place of an older one."""
    values = {key: value for key, value in record.items() if key != SEAL}
    return values | {SEAL: hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def read_record(path: Path) -> dict[str, Any]:
    """Returns a record that `record_text` wrote, its digest included; an earlier version's may lack it.

    Raises ValueError where it is not what was written, to the byte; OSError.
    """
    try:
        text = path.read_bytes().decode()
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not readable: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path.name} is not readable: it holds no record")
    if SEAL in record and not (record == sealed(record) and text == as_json(record)):
        raise ValueError(f"{path.name} does not match its digest")
    return record


def read_sealed(path: Path) -> dict[str, Any]:
    """Like `read_record`, for a record that never lacked its digest."""
    record = read_record(path)
    if SEAL not in record:
        raise ValueError(f"{path.name} has no digest")
    return record


def as_json(value: Any) -> str:
    """Returns the text of a JSON file as this project writes it."""
    return json.dumps(value, indent=2) + "\n"
