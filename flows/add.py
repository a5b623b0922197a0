"""Add: text from the user's own disk becomes raw text like any other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.printable import one_line
from tasks.contracts.records import Document, as_text
from tasks.contracts.run_record import Listener
from tasks.contracts.settings import Settings
from tasks.extract.stage import LOCAL_TYPES, extract_file, prefetch_file
from tasks.extract.worker_pool import Extractor
from tasks.forget.recovery import ForgettingRecovery
from tasks.raw.stage import hold_back_known_bodies, store
from tasks.raw.validate import find_unregistered
from tasks.run_context import open_run

# A batch is made durable at once, which takes a disk as long as one file does; and it is held in memory.
BATCH_FILES, BATCH_BYTES = 500, 20_000_000


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Returns the files given, and in the folders given those that look like text, in order of their names.

    Raises:
        SettingsError: a path is not there.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in LOCAL_TYPES)
        elif path.is_file():
            files.append(path)
        else:
            raise SettingsError(f"{path} is not there: give files or folders that exist.")
    return [path.resolve() for path in files]


def add_files(files: list[Path], settings: Settings, layout: Layout, listener: Listener) -> Counter[str]:
    """Store each file's text. Returns the number of files by outcome; a bad file does not stop the others."""
    counts: Counter[str] = Counter()
    with (
        open_run(settings, layout, "add", listener, ForgettingRecovery()) as run,
        Extractor(settings.extract) as extractor,
    ):
        done = 0
        for batch in _batches(files):
            for path in batch:
                prefetch_file(path, extractor)
            results = [extract_file(path, extractor) for path in batch]
            results = hold_back_known_bodies(results, run.catalog)
            counts.update(store(results, run.catalog, settings.tokenize.validation_fraction))
            for path, result in zip(batch, results, strict=True):
                if result.dropped:
                    listener.message(f"{one_line(str(path))}: {result.dropped.reason} {result.dropped.detail}".rstrip())
            done += len(batch)
            listener.progress("add", done, len(files), "")
    return counts


def _batches(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yields the files in their order, many small ones or a few long ones at a time."""
    batch, size = [], 0
    for path in files:
        batch.append(path)
        with suppress(OSError):  # `extract_file` says what is wrong with it
            size += path.stat().st_size
        if len(batch) == BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def add_unregistered(settings: Settings, layout: Layout, listener: Listener) -> int:
    """Add ledger lines for text files that the user dropped under `raw/`. Returns their number."""
    with open_run(settings, layout, "validate --scan", listener, ForgettingRecovery()) as run:
        good: list[tuple[str, Document]] = []
        for path in find_unregistered(layout, run.catalog.paths()):
            document = _read_dropped(path)
            if isinstance(document, str):
                listener.message(f"{one_line(str(path))} {document}, then scan again")
            elif run.catalog.is_forgotten((document.url,), document.sha256):
                listener.message(f"{path} was forgotten, and is not taken in again: remove it")
            else:
                good.append((str(path.relative_to(layout.raw)), document))
        if good:
            run.catalog.ledger().adopt(good, settings.tokenize.validation_fraction)
            run.catalog.index_new()
        return len(good)


def _read_dropped(path: Path) -> Document | str:
    """Returns a file that was dropped under `raw/` as a document, or why it is not taken."""
    if path.is_symlink():
        return "is a link, and what it leads to is not ours: copy the file itself"
    try:
        str(path).encode()
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            text = file.read().decode()
    except OSError as error:
        return f"cannot be read ({error.strerror}): change that"
    except UnicodeEncodeError:
        return "has a name that is not UTF-8: rename it"
    except UnicodeDecodeError:
        return "is not UTF-8: convert it"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Document(text, path.as_uri(), path.as_uri(), as_text(path.stem), "local", "scan", now, "none", "")
