"""The border to the web: whatever a stranger's bytes raise ends one page or one source, never the night.

What is expected to go wrong is a `PageRejected` with its name. Anything else that is raised while strangers' bytes are
fetched, unpacked or parsed - an error of ours, or of a library, that nobody thought of - becomes the outcome
`unforeseen`. Its traceback is kept in a file, which the run's report names. The stages cross the border in three
places: a source is asked (`search`), a page is visited (`render`), a page's text is taken over (`extract`).
"""

from __future__ import annotations

import errno
import sqlite3
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.printable import one_line, printable

MOST_TRACEBACKS = 50  # in one run; further ones are counted
THIS_MACHINE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class Border:
    """Counts the errors that nobody thought of, and keeps their tracebacks. Safe for several threads.

    Args:
        file: for the tracebacks; without one, they are not kept.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.errors = 0
        self._lock = threading.Lock()

    @contextmanager
    def crossing(self, address: str) -> Iterator[None]:
        """Raises `PageRejected("unforeseen")` in place of any error that a stranger's bytes may have raised."""
        try:
            yield
        except PageRejected:
            raise
        except Exception as error:
            if is_ours(error):
                raise
            self.note(address, error)
            raise PageRejected("unforeseen", f"{type(error).__name__}: {error}") from error

    def note(self, address: str, error: BaseException) -> None:
        """Keeps the traceback of an error that the bytes from an address raised."""
        with self._lock:
            self.errors += 1
            if self.file is None or self.errors > MOST_TRACEBACKS:
                return
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{one_line(address)}\n{printable(''.join(traceback.format_exception(error)))}\n")


def is_ours(error: Exception) -> bool:
    """Whether an error is of our own data or machine, and so must stop the run: no stranger's bytes raise it."""
    if isinstance(error, OSError):  # those of sockets name no file
        return error.filename is not None or error.errno in THIS_MACHINE
    return isinstance(error, MiniatureMemoryError | sqlite3.Error)
