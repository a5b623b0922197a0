"""Where everything lies in the data directory (see data/README.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.contracts.errors import DataDirectoryError

PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below one data directory. `truth` may differ, so that a rebuild reads the same raw text."""

    root: Path
    truth: Path | None = None

    @property
    def raw(self) -> Path:
        return self.truth or self.root / "raw"

    @property
    def ledger(self) -> Path:
        return self.raw / "ledger.jsonl"

    @property
    def journal(self) -> Path:
        """The last batch of ledger lines: written before the batch, replayed when the batch was cut."""
        return self.raw / ".journal.jsonl"

    @property
    def forgotten(self) -> Path:
        """What is never collected again, as keyed hashes (`tasks/web/suppression_list.py`)."""
        return self.raw / "forgotten.jsonl"

    @property
    def intent(self) -> Path:
        """A forgetting under way (`tasks/forget/erasure.py`); gone when it is done."""
        return self.raw / ".forget.json"

    @property
    def tokenizer(self) -> Path:
        return self.raw / "tokenizer.json"

    @property
    def tokenizer_record(self) -> Path:
        """Digest of the tokenizer and whether it is frozen; written after it, as its commit record."""
        return self.raw / "tokenizer.meta.json"

    @property
    def cleaned(self) -> Path:
        return self.root / "cleaned"

    @property
    def processed(self) -> Path:
        return self.root / "processed"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def database(self) -> Path:
        return self.state / "state.sqlite"

    @property
    def pages(self) -> Path:
        return self.state / "pages"

    @property
    def blocklists(self) -> Path:
        return self.state / "blocklists"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def reports(self) -> Path:
        return self.root / "reports"


def find_data_directory(argument: str | os.PathLike[str] | None = None) -> Layout:
    """The argument, else MINIATURE_MEMORY_DATA, else `data/` of the project.

    Raises:
        DataDirectoryError: it cannot be made or written.
    """
    root = Path(argument or os.environ.get("MINIATURE_MEMORY_DATA") or PROJECT / "data").expanduser().resolve()
    layout = Layout(root)
    try:
        for folder in (layout.raw, layout.state, layout.reports):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot write the data directory {root}: {error.strerror}. "
            "Give another one with --data-dir or MINIATURE_MEMORY_DATA, or mend its permissions."
        ) from error
    if not all(os.access(folder, os.W_OK) for folder in (root, layout.raw, layout.state)):
        raise DataDirectoryError(
            f"the data directory {root} is not writable. "
            "Give another one with --data-dir or MINIATURE_MEMORY_DATA, or mend its permissions."
        )
    return layout


def read_cleaned(layout: Layout, path: str) -> str:
    """A kept document's text.

    Raises:
        DataDirectoryError: it is gone; says how it comes back.
    """
    try:
        return (layout.cleaned / path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataDirectoryError(
            f"{layout.cleaned / path} is missing. Remove {layout.cleaned} and run again: it is derived again from raw/."
        ) from error
