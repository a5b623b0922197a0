"""A second process for the work on single texts, where there is much of it: same results, in the same order.

python -m tasks.workers HANDLE    the child: takes (function, items), gives their results, ends with its parent
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tasks.layout import PROJECT

A = TypeVar("A")
B = TypeVar("B")


class Workers:
    """This process and `number - 1` others. They start with the first call that is told to."""

    def __init__(self, number: int) -> None:
        """`number`: 0 takes one for each core, two at most."""
        self.number = number or min(2, os.cpu_count() or 1)
        self._children: list[tuple[subprocess.Popen[bytes], Connection]] = []

    def start(self) -> None:
        while len(self._children) < self.number - 1:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-m", "tasks.workers", str(theirs.fileno())]
                child = subprocess.Popen(command, cwd=PROJECT, pass_fds=[theirs.fileno()])
            self._children.append((child, Connection(ours.detach())))

    def close(self) -> None:
        """The children hold nothing worth saving."""
        children, self._children = self._children, []
        for child, connection in children:
            connection.close()
            child.kill()
            child.wait()

    def map(self, function: Callable[[A], B], items: Sequence[A], sizes: Sequence[int]) -> list[B]:
        """`[function(item) for item in items]`, the items shared out by size. Functions must be importable."""
        parts = _shares(items, sizes, len(self._children) + 1)
        try:
            for (_, connection), part in zip(self._children, parts[1:], strict=True):
                connection.send((function, part))
            results = [function(item) for item in parts[0]]
            for _, connection in self._children:
                answer = connection.recv()
                if isinstance(answer, Exception):
                    raise answer
                results += answer
            return results
        except (OSError, EOFError):  # a child was killed: its share is done here
            self.close()
            return [function(item) for item in items]
        except BaseException:
            self.close()  # an answer that nobody took must not be taken for the next one
            raise


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
