"""Files below the data directory, cleared of what is to be forgotten: caches, reports, exports, leftovers.

Not here: raw texts and their ledger, derived data, checkpoints and models. Each function finds and, unless it is a dry
run, removes; called again, it continues where it was interrupted. Text files are blanked out in place, so that a log
that another process is writing stays its log.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.forget.matcher import ReferenceMatcher
from tasks.forget.scrub_exports import is_export, scrub_export
from tasks.forget.scrub_reports import scrub_report
from tasks.storage.atomic_files import sync_folder

COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ".zip", ".7z", ".parquet", ".feather", ".arrow")
BLOCK, OVERLAP = 1 << 20, 8192  # bytes


def scrub_files(
    layout: Layout, matcher: ReferenceMatcher, since: str | None, dry: bool
) -> tuple[Counter[str], list[str]]:
    """Clear all files but those of raw text, derived data, checkpoints and models.

    Args:
        since: when the first of the documents that training saw was fetched, ISO 8601. Samples that were written
            later may repeat them, and are removed. None where training saw none of them.

    Returns:
        How many files of each kind were changed or removed, and the files that cannot be looked into.
    """
    counts: Counter[str] = Counter()
    caches, leftovers = _disposable_folders(layout), list(_leftovers(layout))
    counts["cached files"] = sum(path.is_file() for folder in caches for path in folder.rglob("*"))
    counts["leftovers"] = len(leftovers)
    for path in [] if dry else [*caches, *leftovers]:
        if path.exists():  # a leftover in a cache went with it
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in sorted(layout.reports.glob("*/")):
        counts["reports"] += scrub_report(folder, matcher, since, dry)
    closed = []
    for path in list(_others(layout, {*caches, *leftovers})):
        if str(path.relative_to(layout.root)) in matcher:
            counts["other files"] += _remove(path, layout.root, dry)
        elif is_export(path):
            counts["other files"] += scrub_export(path, matcher, dry)
        elif path.suffix.lower() in COMPRESSED:
            closed.append(str(path))
        else:
            counts["other files"] += _scrub_other(path, matcher, layout.root, dry)
    return +counts, closed


def remove_raw(layout: Layout, paths: list[str]) -> None:
    """Remove raw texts, and the folders of sites that have none left; durable when it returns."""
    folders = set()
    for name in paths:
        path = layout.raw / name
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in sorted(folders):
        if folder != layout.raw and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        elif folder.exists():
            sync_folder(folder)
    sync_folder(layout.raw)


def _disposable_folders(layout: Layout) -> list[Path]:
    """Caches, whatever they hold: cached pages link to what is to be forgotten. A night fills them again."""
    if (layout.root / ".restoring" / "whole.json").exists():
        raise DataDirectoryError(f"{layout.root} is being restored from a snapshot: finish that first.")
    pictures = layout.reports / "corpus"  # with the names of sites; `stats --plots` draws them again
    caches = (layout.pages, layout.state / "browser", layout.state / "google", layout.root / ".restoring")
    return [folder for folder in (*caches, pictures) if folder.is_dir()]


def _leftovers(layout: Layout) -> Iterator[Path]:
    """Half-written files of killed runs, databases that were set aside, and rebuilds into this very folder."""
    for folder, _, names in os.walk(layout.root):
        if not Path(folder).is_relative_to(layout.checkpoints) and not Path(folder).is_relative_to(layout.models):
            yield from (Path(folder, name) for name in names if name.startswith(".") and name.endswith(".tmp"))
    yield from layout.state.glob("*.damaged-*")
    yield from layout.state.glob(".snapshot.sqlite*")
    for meta in sorted(layout.root.rglob("processed/meta.json")):
        if meta.parent != layout.processed:
            yield meta.parent


def _others(layout: Layout, gone: set[Path]) -> Iterator[Path]:
    """Files that no other part of forgetting clears."""
    kept = gone | {layout.raw, layout.cleaned, layout.processed, layout.checkpoints, layout.models, layout.lock}
    kept |= {layout.database.with_name(layout.database.name + suffix) for suffix in ("", "-wal", "-shm")}
    for folder, folders, names in os.walk(layout.root):
        folders[:] = sorted(name for name in folders if Path(folder, name) not in kept)
        for path in (Path(folder, name) for name in sorted(names)):
            of_report = path.parent.parent == layout.reports and path.suffix in (".json", ".md")
            if path not in kept and not of_report and not path.is_symlink():
                yield path


def _remove(path: Path, root: Path, dry: bool) -> bool:
    """Remove a file and the folders that it leaves empty: their names may tell as much."""
    if not dry:
        path.unlink()
        for folder in path.parents:
            if folder == root or any(folder.iterdir()):
                break
            folder.rmdir()
    return True


def _scrub_other(path: Path, matcher: ReferenceMatcher, root: Path, dry: bool) -> bool:
    """Blank out text. Remove what is no text and refers to it, such as a tar file: it holds more of it."""
    with open(path, "rb") as file:
        if b"\0" in file.read(OVERLAP):
            return _refers(path, matcher) and _remove(path, root, dry)
    return blank_out(path, matcher, dry)


def blank_out(path: Path, matcher: ReferenceMatcher, dry: bool) -> bool:
    """Overwrite the references in a text file with as many bytes, so that another process can continue to write it."""
    changed, position = False, 0
    with open(path, "rb" if dry else "r+b") as file:
        for line in iter(file.readline, b""):
            text = line.decode("utf-8", "surrogateescape")
            if text in matcher:
                changed = True
                if not dry:
                    file.seek(position)
                    file.write(matcher.cut(text, keep_length=True).encode("utf-8", "surrogateescape"))
            position += len(line)
        if changed and not dry:
            file.flush()
            os.fsync(file.fileno())
    return changed


def _refers(path: Path, matcher: ReferenceMatcher) -> bool:
    """Whether a file that is no text refers to what is forgotten. Reads it block by block, with an overlap."""
    with open(path, "rb") as file:
        before = b""
        while block := file.read(BLOCK):
            if (before + block).decode("utf-8", "replace") in matcher:
                return True
            before = block[-OVERLAP:]
    return False
