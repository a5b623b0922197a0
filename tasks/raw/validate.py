"""Validate: compares new raw files with the ledger. With `--scan`, also finds files dropped under `raw/`."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.paths import Layout


def validate(documents: Sequence[sqlite3.Row], raw: Path) -> int:
    """Read each document (path, sha256) back and compare its digest. Returns the number of documents.

    Raises:
        TruthDamagedError: a file is missing, differs, or is no UTF-8; names the first one.
    """
    for document in documents:
        if problem := check_file(raw / document["path"], document["sha256"]):
            raise TruthDamagedError(f"{raw / document['path']} {problem}. Restore raw/ from your backup.")
    return len(documents)


def check_file(path: Path, sha256: str) -> str | None:
    """Returns what is wrong with a raw file, or None."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if hashlib.sha256(content).hexdigest() != sha256:
        return "is not what was stored (its sha256 differs from the ledger's)"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return None


def find_unregistered(layout: Layout, registered: set[str]) -> list[Path]:
    """Returns text files under `raw/`, and links of such names, that no ledger line names; looks into no linked folder.

    Lists the whole folder, so call it only on demand.
    """
    walk = os.walk(layout.raw)
    names = (Path(folder, name) for folder, _, files in walk for name in files if not name.startswith("."))
    texts = (path for path in names if path.suffix == ".txt" and (path.is_symlink() or path.is_file()))
    return sorted(path for path in texts if str(path.relative_to(layout.raw)) not in registered)
