"""The errors a user can meet, as one small tree.

A page that cannot be fetched is no error: it is a `Dropped` record with a named reason.
"""

from __future__ import annotations

from tasks.contracts.printable import printable


class MiniatureMemoryError(Exception):
    """Base of the failures that are told to the user in one line, without a traceback.

    The message names the thing and says what to do next.
    """

    exit_status = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))  # it may quote a name or an answer that is not ours


class SettingsError(MiniatureMemoryError):
    """A profile or a flag is wrong."""

    exit_status = 2


class DataDirectoryError(MiniatureMemoryError):
    """The data directory cannot be used as it is."""


class TruthDamagedError(DataDirectoryError):
    """Raw text, ledger or tokenizer differ from what was written."""


class DerivedDamagedError(DataDirectoryError):
    """Something derived differs from what was written. A night derives it again."""


class ProcessedDamagedError(DerivedDamagedError):
    """It is in `processed/`, which is made from `cleaned/`; the others need `raw/`."""


class LockHeldError(MiniatureMemoryError):
    """Another run has the data directory."""

    exit_status = 75  # sysexits.h EX_TEMPFAIL: try again later


class BrowserError(MiniatureMemoryError):
    """Chromium or its driver is missing or died."""


class NothingToTrainError(MiniatureMemoryError):
    """No text has been prepared yet."""


class TrainingError(MiniatureMemoryError):
    """The training child failed."""
