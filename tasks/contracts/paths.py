"""Where everything lies in the data directory (see data/README.md)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from tasks.contracts.errors import DataDirectoryError, DerivedDamagedError

PROJECT = Path(__file__).resolve().parents[2]


class Layout:
    """The paths below one data directory. `truth` may differ, so that a rebuild reads the same raw text."""

    def __init__(self, root: Path, truth: Path | None = None) -> None:
        self.root: Final = root
        self.lock: Final = root / "lock"
        self.reports: Final = root / "reports"

        self.raw: Final = truth or root / "raw"
        self.ledger: Final = self.raw / "ledger.jsonl"
        # The last batch of ledger lines: written before the batch, replayed when the batch was interrupted.
        self.journal: Final = self.raw / ".journal.jsonl"
        # What is never collected again, as keyed hashes (`tasks/web/suppression_list.py`).
        self.forgotten: Final = self.raw / "forgotten.jsonl"
        # An erasure under way (`tasks/forget/erasure.py`); removed when it is done.
        self.intent: Final = self.raw / ".forget.json"
        self.tokenizer: Final = self.raw / "tokenizer.json"
        # Digest of the tokenizer and whether it is frozen; written after it, as its commit record.
        self.tokenizer_record: Final = self.raw / "tokenizer.meta.json"

        self.cleaned: Final = root / "cleaned"
        self.processed: Final = root / "processed"
        self.checkpoints: Final = root / "checkpoints"
        self.models: Final = root / "models"

        self.state: Final = root / "state"
        self.database: Final = self.state / "state.sqlite"
        self.pages: Final = self.state / "pages"
        self.blocklists: Final = self.state / "blocklists"

    def is_writable(self) -> bool:
        folders = (self.root, self.raw, self.state)
        return all(os.access(folder, os.W_OK) for folder in folders if folder.exists())


def find_data_directory(argument: str | os.PathLike[str] | None = None, *, to_read: bool = False) -> Layout:
    """Returns the argument, else MINIATURE_MEMORY_DATA, else `data/` of the project.

    Args:
        to_read: whether one that is there, but cannot be written, will do: another user's, a read-only mount.

    Raises:
        DataDirectoryError: it cannot be made or written.
    """
    root = Path(argument or os.environ.get("MINIATURE_MEMORY_DATA") or PROJECT / "data").expanduser().resolve()
    layout = Layout(root)
    if to_read and root.is_dir() and not layout.is_writable():
        return layout
    advice = "Give another one with --data-dir or MINIATURE_MEMORY_DATA, or mend its permissions."
    try:
        for folder in (layout.raw, layout.state, layout.reports):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(f"cannot write the data directory {root}: {error.strerror}. {advice}") from error
    if not layout.is_writable():
        raise DataDirectoryError(f"the data directory {root} is not writable. {advice}")
    return layout


def read_cleaned(layout: Layout, path: str, sha256: str | None) -> str:
    """Returns a kept document's text. `sha256` is the digest of its bytes; None: an earlier version kept none.

    Raises:
        DerivedDamagedError: the file is missing, or is not what was written.
    """
    file = layout.cleaned / path
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DerivedDamagedError(f"{file} is missing; a night derives it again from raw/") from error
    if sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise DerivedDamagedError(f"{file} is not what was written; a night derives it again from raw/")
    return content.decode()
