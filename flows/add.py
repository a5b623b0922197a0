"""Add: text from the user's own disk, into the truth like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.records import Document, as_text
from tasks.contracts.run_record import Listener
from tasks.contracts.settings import Settings
from tasks.extract.stage import LOCAL_TYPES, extract_file
from tasks.extract.worker_pool import Extractor
from tasks.forget.recovery import ForgettingRecovery
from tasks.raw.catalog import Catalog
from tasks.raw.stage import store
from tasks.raw.validate import find_unregistered
from tasks.run_context import open_run

BATCH = 10  # texts of the user's may be long, and a batch is held in memory


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files given, and those in the folders given that look like text, in order of their names.

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
    """Store each file's text. Returns how many ended how; a bad file costs only itself."""
    counts: Counter[str] = Counter()
    with (
        open_run(settings, layout, "add", listener, ForgettingRecovery()) as night,
        Extractor(settings.extract) as extractor,
    ):
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            results = [extract_file(path, extractor) for path in batch]
            outcomes = store(results, night.corpus, settings.tokenize.validation_fraction)
            counts.update(outcomes)
            for path, result in zip(batch, results, strict=True):
                if result.dropped:
                    listener.message(f"{path}: {result.dropped.reason} {result.dropped.detail}".rstrip())
    return counts


def add_unregistered(settings: Settings, layout: Layout, listener: Listener) -> int:
    """Give text files dropped under `raw/` their ledger lines. Returns their number."""
    with open_run(settings, layout, "validate --scan", listener, ForgettingRecovery()) as night:
        good: list[tuple[str, Document]] = []
        for path in find_unregistered(layout, night.corpus.paths()):
            document = _dropped_document(path)
            if document is None:
                listener.message(f"{path} is not UTF-8: convert it, then scan again")
            elif night.corpus.is_forgotten((document.url,), document.sha256):
                listener.message(f"{path} was forgotten, and is not taken in again: remove it")
            else:
                good.append((str(path.relative_to(layout.raw)), document))
        _adopt(night.corpus, good, settings.tokenize.validation_fraction)
        return len(good)


def _adopt(corpus: Catalog, files: list[tuple[str, Document]], validation_fraction: float) -> None:
    if files:
        corpus.ledger().adopt(files, validation_fraction)
        corpus.index_new()


def _dropped_document(path: Path) -> Document | None:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Document(text, path.as_uri(), path.as_uri(), as_text(path.stem), "local", "scan", now, "none", "")
