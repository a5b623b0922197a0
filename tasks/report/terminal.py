"""What a person sees: a line for each message, and one line of progress that is overwritten on a terminal."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

PIPE_SECONDS = 10.0  # between two lines of progress where each one stays


class Terminal:
    """Writes to standard error, so that what a command prints can be piped."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.width = 0
        self.last = 0.0

    def message(self, text: str) -> None:
        self._write(text + "\n")

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        line = f"{what}: {done:,} of {of:,} {detail}".rstrip()
        if self.is_terminal:
            self._write(line)
            self.width = len(line)
        elif time.monotonic() - self.last >= PIPE_SECONDS:
            self.last = time.monotonic()
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        erase = "\r" + " " * self.width + "\r" if self.width else ""
        self.width = 0
        with suppress(BrokenPipeError):  # nobody reads any more; the night goes on
            sys.stderr.write(erase + text)
            sys.stderr.flush()
