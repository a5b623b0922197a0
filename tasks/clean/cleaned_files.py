"""`cleaned/`: the cleaned text of each document kept, under its raw path. Derived; `paths.read_cleaned` reads it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tasks.contracts.paths import Layout
from tasks.contracts.records import Cleaned


def write_cleaned(layout: Layout, documents: Iterable[Cleaned]) -> None:
    """Write the texts of a batch. Not synced: whoever commits the batch syncs once for all files."""
    folders: set[Path] = set()
    for document in documents:
        path = layout.cleaned / document.path
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        path.write_bytes(document.text.encode())


def remove_cleaned(layout: Layout) -> None:
    """Remove all of it, where the texts are to be derived again."""
    if layout.cleaned.exists():
        shutil.rmtree(layout.cleaned)
