"""The errors a user can meet, as one small tree.

MiniatureMemoryError            speaks to the user: names the thing, says what to do next
+-- SettingsError               a profile or a flag is wrong (exit status 2)
+-- DataDirectoryError          the data directory cannot be used as it is
|   +-- TruthDamagedError       raw text, ledger or tokenizer differ from what was written
+-- LockHeldError               another run has the data directory (exit status 75)
+-- BrowserError                Chromium or its driver is missing or died
+-- NothingToTrainError         no text has been prepared yet
+-- TrainingError               the training child failed

A page that cannot be had is no error: it is a `Dropped` record with a named reason.
"""


class MiniatureMemoryError(Exception):
    """Base of the failures that are told to the user in one line, without a traceback."""

    exit_status = 1


class SettingsError(MiniatureMemoryError):
    exit_status = 2


class DataDirectoryError(MiniatureMemoryError):
    pass


class TruthDamagedError(DataDirectoryError):
    pass


class LockHeldError(MiniatureMemoryError):
    # sysexits.h EX_TEMPFAIL: try again later.
    exit_status = 75


class BrowserError(MiniatureMemoryError):
    pass


class NothingToTrainError(MiniatureMemoryError):
    pass


class TrainingError(MiniatureMemoryError):
    pass
