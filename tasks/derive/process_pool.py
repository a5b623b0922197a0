"""Child processes for the work on single texts, where there is much of it: same results, in the same order.

python -m tasks.derive.process_pool HANDLE    the child: runs (function, items) until its parent ends
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate, count
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

from tasks.contracts.paths import PROJECT

A = TypeVar("A")
B = TypeVar("B")


class Workers:
    """Child processes for work on single texts; none until they are started, and then all is done here."""

    def __init__(self, number: int) -> None:
        """`number`: 0 takes one for each core, two at most; 1 none."""
        self.number = number or min(2, os.cpu_count() or 1)
        self._children: list[_Child] = []
        self._given: dict[int, tuple[Callable[[Any], Any], Sequence[Any]]] = {}
        self._tickets = count()

    def start(self) -> None:
        while self.number > 1 and len(self._children) < self.number and not self._given:
            self._children.append(_Child())

    @property
    def running(self) -> bool:
        return bool(self._children)

    def close(self) -> None:
        """The children hold nothing worth saving; what was given is dropped."""
        self._given.clear()
        self._end_children()

    def _end_children(self) -> None:
        children, self._children = self._children, []
        for child in children:
            child.end()

    def give(self, work: Callable[[A], B], items: Sequence[A], sizes: Sequence[int], *, urgent: bool = False) -> int:
        """Begin `[work(item) for item in items]`, the items shared out by size. Functions must be importable.

        Args:
            urgent: before everything given and not begun.

        Returns:
            The ticket to `take` the results with.
        """
        ticket = next(self._tickets)
        self._given[ticket] = (work, items)
        with suppress(OSError):  # a child was killed: `take` notices
            for child, part in zip(self._children, _shares(items, sizes, len(self._children)), strict=True):
                child.send((ticket, urgent, work, part))
        return ticket

    def take(self, ticket: int) -> list[Any]:
        """The results of what was given."""
        work, items = self._given.pop(ticket)
        try:
            answers = [child.answer(ticket) for child in self._children]
        except EOFError:  # a child was killed: from here on the work is done here
            self._end_children()
            answers = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [result for answer in answers for result in answer] if answers else [work(item) for item in items]


class _Child:
    """One process, and a thread that reads its answers as they come: it never waits for us to take them."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tasks.derive.process_pool", str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=PROJECT, pass_fds=[theirs.fileno()])
        self._connection = Connection(ours.detach())
        self.send = self._connection.send
        self._read: SimpleQueue[bytes | None] = SimpleQueue()
        self._answers: dict[int, Any] = {}
        self._reader = threading.Thread(target=self._read_on, daemon=True)
        self._reader.start()

    def _read_on(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                self._read.put(self._connection.recv_bytes())
        self._read.put(None)

    def answer(self, ticket: int) -> Any:
        """Raises EOFError when the process is gone."""
        while ticket not in self._answers:
            content = self._read.get()
            if content is None:
                raise EOFError
            of, answer = pickle.loads(content)
            self._answers[of] = answer
        return self._answers.pop(ticket)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._connection.close()


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
    """Work until the other side is gone, what is urgent first."""
    waiting: deque[tuple[int, Callable[[Any], Any], Sequence[Any]]] = deque()
    while True:
        while not waiting or connection.poll():
            try:
                ticket, urgent, work, items = connection.recv()
            except EOFError:
                return
            (waiting.appendleft if urgent else waiting.append)((ticket, work, items))
        ticket, work, items = waiting.popleft()
        answer: Any
        try:
            answer = [work(item) for item in items]
        except Exception as error:
            answer = error
        connection.send((ticket, answer))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    serve(Connection(int(sys.argv[1])))
