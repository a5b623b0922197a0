"""Child processes for the work on single texts, where there is much of it: same results, in the same order.

python -m tasks.workers HANDLE    the child: takes (function, items), gives their results, ends with its parent
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tasks.layout import PROJECT

A = TypeVar("A")
B = TypeVar("B")


class Workers:
    """Child processes for work on single texts; none until they are started, and then all is done here."""

    def __init__(self, number: int) -> None:
        """`number`: 0 takes one for each core, two at most; 1 none."""
        self.number = number or min(2, os.cpu_count() or 1)
        self._children: list[tuple[subprocess.Popen[bytes], Connection]] = []
        self._given: tuple[Callable[[Any], Any], Sequence[Any]] | None = None

    def start(self) -> None:
        while self.number > 1 and len(self._children) < self.number:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "tasks.workers", str(theirs.fileno())]
                child = subprocess.Popen(command, cwd=PROJECT, pass_fds=[theirs.fileno()])
            self._children.append((child, Connection(ours.detach())))

    @property
    def running(self) -> bool:
        return bool(self._children)

    def close(self) -> None:
        """The children hold nothing worth saving."""
        children, self._children, self._given = self._children, [], None
        for child, connection in children:
            connection.close()
            child.kill()
            child.wait()

    def map(self, function: Callable[[A], B], items: Sequence[A], sizes: Sequence[int]) -> list[B]:
        """`[function(item) for item in items]`, the items shared out by size. Functions must be importable."""
        self.give(function, items, sizes)
        return self.take()

    def give(self, function: Callable[[A], B], items: Sequence[A], sizes: Sequence[int]) -> None:
        """Begin `map`; what was given before and not taken is dropped."""
        if self._given is not None and self._children:
            self.close()
            self.start()
        self._given = (function, items)
        with suppress(OSError):  # a child was killed: `take` notices
            for (_, connection), part in zip(self._children, _shares(items, sizes, len(self._children)), strict=True):
                connection.send((function, part))

    def take(self) -> list[Any]:
        """The results of what was given last."""
        if self._given is None:
            raise RuntimeError("nothing was given")
        function, items = self._given
        try:
            answers = [connection.recv() for _, connection in self._children]
        except (OSError, EOFError):  # a child was killed: its share is done here
            self.close()
            answers = []
        except BaseException:
            self.close()  # an answer that nobody took must not be taken for the next one
            raise
        self._given = None
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [result for answer in answers for result in answer] if answers else [function(item) for item in items]


def _shares(items: Sequence[A], sizes: Sequence[int], number: int) -> list[Sequence[A]]:
    """The items in `number` runs of about equal size."""
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    parts, start = [], 0
    for part in range(1, number + 1):
        stop = len(items) if part == number else sum(end * number <= total * part for end in ends)
        parts.append(items[start:stop])
        start = max(start, stop)
    return parts


def serve(connection: Connection) -> None:
    """Work until the other side is gone."""
    while True:
        try:
            function, items = connection.recv()
        except EOFError:
            return
        answer: Any
        try:
            answer = [function(item) for item in items]
        except Exception as error:
            answer = error
        connection.send(answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    serve(Connection(int(sys.argv[1])))
