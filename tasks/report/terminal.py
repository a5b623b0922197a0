"""What a person sees: a line for each message, and one moving line of progress on a terminal, plain ones in a pipe."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from tasks.contracts.printable import one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress

PIPE_SECONDS = 10.0  # between two lines of progress where each one stays
SURE_SECONDS = 3.0  # before what is left is guessed
WIDE = 72  # columns from which a line has room for details


def show(text: str = "", *, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Prints a text, whoever wrote it: nothing else writes to standard output, nor but `Terminal` to standard error."""
    print(printable(text), end=end, file=file, flush=flush)


def show_traceback(error: BaseException | None) -> None:
    """Prints the traceback of an error that nobody caught: its message may be a stranger's."""
    show("".join(traceback.format_exception(error)), end="", file=sys.stderr)


class Terminal:
    """Writes to standard error, so that what a command prints can be piped."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.what = ""
        self.began = self.told = 0.0
        self.first = 0
        self.bar: Progress | None = None

    def message(self, text: str) -> None:
        self.close()
        self._write(printable(text) + "\n")

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        now, detail = time.monotonic(), one_line(detail)
        if what != self.what:
            self.close()
            self.what, self.began, self.first = what, now, done
        left = self._left(done, of, now)
        if self.is_terminal:
            self._move(what, done, of, detail, left)
        elif now - self.told >= PIPE_SECONDS:
            self.told = now
            self._write(f"{what}: {done:,} of {of:,} {', '.join(filter(None, (detail, left)))}".rstrip() + "\n")

    def close(self) -> None:
        """Takes the moving line away, since others are about to write; another progress begins it again."""
        if self.bar:
            with suppress(BrokenPipeError):
                self.bar.stop()
        self.bar = None

    def _left(self, done: int, of: int, now: float) -> str:
        """Returns what is left, at the speed since the first word of this."""
        if done <= self.first or now - self.began < SURE_SECONDS or done >= of:
            return ""
        minutes = (now - self.began) / (done - self.first) * (of - done) / 60
        return f"{minutes:.0f} min left" if minutes >= 1 else "<1 min left"

    def _move(self, what: str, done: int, of: int, detail: str, left: str) -> None:
        bar = self.bar or _new_bar()
        values: dict[str, Any] = {
            "of": f"{done:,} of {of:,}",
            "left": left,
            "detail": detail if bar.console.width >= WIDE else "",
        }
        with suppress(BrokenPipeError):
            if not self.bar:
                bar.add_task(what, **values)
                bar.start()
                bar.console.show_cursor(True)  # hidden, it would stay so in the shell after a kill
            bar.update(bar.task_ids[0], completed=done, total=of, refresh=True, **values)
        self.bar = bar
        if done >= of:
            self.close()

    def _write(self, text: str) -> None:
        with suppress(BrokenPipeError):  # nobody reads any more; the night goes on
            sys.stderr.write(text)
            sys.stderr.flush()


def _new_bar() -> Progress:
    """Returns a line that moves when it is told to: no thread of its own draws it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def text(field: str) -> TextColumn:
        return TextColumn(f"{{task.{field}}}", markup=False, table_column=Column(no_wrap=True))

    return Progress(
        text("description"),
        BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=40)),
        text("fields[of]"),
        text("fields[left]"),
        text("fields[detail]"),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
