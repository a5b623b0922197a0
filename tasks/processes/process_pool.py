"""One pool for all work in child processes: started when first needed, killed at a deadline, started again.

`python -m tasks.processes.process_pool HANDLE` is the child: it runs what it is sent and dies with its parent.

`concurrent.futures` and pebble start children by a fork of our threads, or by importing the main module once more:
under Prefect that is Prefect itself, 85 MB a child. Neither lets urgent work pass what waits.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import accumulate, count
from multiprocessing.connection import Connection
from typing import Any, Generic, Self, TypeVar

from tasks.contracts.paths import PROJECT

A = TypeVar("A")
B = TypeVar("B")
START_SECONDS = 60.0  # importing what the initializer needs, on a busy machine
PR_SET_PDEATHSIG = 1


class ProcessDied(Exception):
    """The child ended while it worked: killed from outside, out of memory, or closed with the pool."""


class ProcessPool:
    """`with ProcessPool(2) as pool: pool.submit(function, argument).result()`.

    A child lives until the pool is closed, a call passes the deadline, or a call raises: what that left in the child's
    memory must not reach the next one. A second child starts only when work comes while the first is busy.
    """

    def __init__(self, size: int, *, seconds: float | None = None, initializer: Callable[[], object] = int) -> None:
        """
        Args:
            size: most children; 0 takes one a core, two at most.
            seconds: the deadline of one call.
            initializer: runs in each new child, outside of any deadline. It and all functions must be importable.
        """
        self.size = size or min(2, os.cpu_count() or 1)
        self._seconds, self._initializer = seconds, initializer
        self._tasks: queue.PriorityQueue[_Task] = queue.PriorityQueue()
        self._numbers = count()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._children: list[_Child] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The ids of the children that run now."""
        return [process.pid for child in list(self._children) if (process := child.process)]

    def submit(self, function: Callable[[A], B], argument: A, *, urgent: bool = False) -> Future[B]:
        """Run the function in a child. `urgent` work passes what waits.

        The future raises what the function raised; TimeoutError past the deadline; ProcessDied.
        """
        future: Future[B] = Future()
        self._tasks.put(_Task((not urgent, next(self._numbers)), function, argument, future))
        if not self._idle.acquire(blocking=False) and len(self._threads) < self.size:
            thread = threading.Thread(target=self._work, daemon=True, name="process-pool")
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Kill the children; what was submitted and not done is cancelled."""
        self._closed = True
        for child in list(self._children):
            child.kill()
        for _ in self._threads:
            self._tasks.put(STOP)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _work(self) -> None:
        """Feed one child. The child dies with this thread, so the thread lives as long as the pool."""
        child = _Child(self._seconds, self._initializer)
        self._children.append(child)
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                self._idle.release()
                task = self._tasks.get()
            if task is STOP:
                break
            if self._closed:
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                try:
                    task.future.set_result(child.call(task.function, task.argument))
                except BaseException as error:
                    child.end()
                    task.future.set_exception(error)
        child.end()
        self._children.remove(child)


@dataclass(order=True, slots=True)
class _Task:
    order: tuple[bool, float]  # not urgent, number
    function: Callable[[Any], Any] = field(compare=False)
    argument: Any = field(compare=False)
    future: Future[Any] = field(compare=False)


STOP = _Task((True, float("inf")), int, None, Future())  # after all others


class _Child:
    """The parent's side of one child process."""

    def __init__(self, seconds: float | None, initializer: Callable[[], object]) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._seconds, self._initializer = seconds, initializer
        self._connection: Connection | None = None
        self._killed = False

    def call(self, function: Callable[[Any], Any], argument: Any) -> Any:
        connection = self._connection or self._start()
        return self._exchange(connection, (function, argument), self._seconds)

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tasks.processes.process_pool", str(theirs.fileno())]
            self.process = subprocess.Popen(command, cwd=PROJECT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._connection = Connection(ours.detach())
        if self._killed:  # `kill` came before the process did
            raise ProcessDied
        self._exchange(self._connection, (_without_argument, self._initializer), START_SECONDS)
        return self._connection

    def _exchange(self, connection: Connection, call: tuple[Any, Any], seconds: float | None) -> Any:
        try:
            connection.send(call)
            if not connection.poll(seconds):
                raise TimeoutError(f"{seconds:g} s")
            raised, result = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise ProcessDied(f"its process ended ({self.process and self.process.wait()})") from error
        if raised:
            raise result
        return result

    def kill(self) -> None:
        """From another thread: what is under way ends with ProcessDied, for good."""
        self._killed = True
        if process := self.process:
            process.kill()

    def end(self) -> None:
        """Kill the process and wait for it; the next call starts another one."""
        process, connection, self.process, self._connection = self.process, self._connection, None, None
        if process:
            process.kill()
            process.wait()
        if connection:
            connection.close()


class Spread(Generic[B]):
    """Results of a function over many items, in order: the items are shared out by size over the pool's children.

    Without a pool, and for the part of a child that died, the work is done here.
    """

    def __init__(
        self,
        function: Callable[[A], B],
        items: Sequence[A],
        sizes: Iterable[int],
        pool: ProcessPool | None,
        *,
        urgent: bool = False,
    ) -> None:
        self._each = _Each(function)
        self._parts = _shares(items, sizes, pool.size) if pool else [items]
        self._futures = [pool.submit(self._each, part, urgent=urgent) for part in self._parts] if pool else [None]

    def results(self) -> list[B]:
        """Waits for them. Raises what the function raised."""
        return [
            result for part, future in zip(self._parts, self._futures, strict=True) for result in self._of(part, future)
        ]

    def _of(self, part: Sequence[Any], future: Future[list[B]] | None) -> list[B]:
        try:
            return future.result() if future else self._each(part)
        except ProcessDied:
            return self._each(part)


@dataclass(frozen=True, slots=True)
class _Each(Generic[B]):
    """A function over each item of a list; can be sent to a child."""

    function: Callable[[Any], B]

    def __call__(self, items: Sequence[Any]) -> list[B]:
        return [self.function(item) for item in items]


def _shares(items: Sequence[A], sizes: Iterable[int], number: int) -> list[Sequence[A]]:
    """The items in `number` runs of about equal size."""
    ends = list(accumulate(sizes))
    total = ends[-1] if ends else 0
    stops = [sum(end * number <= total * part for end in ends) for part in range(1, number)] + [len(items)]
    return [items[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _without_argument(function: Callable[[], object]) -> None:
    function()


def serve(connection: Connection) -> None:
    """Run what comes until the other side is gone."""
    while True:
        try:
            function, argument = connection.recv()
        except EOFError:
            return
        try:
            answer = (False, function(argument))
        except Exception as error:
            error.add_note(f"in the child process:\n{traceback.format_exc()}")  # its traceback does not travel along
            answer = (True, error)
        connection.send(answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    # The connection ends when the parent is killed, but a page may keep us from seeing that.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    serve(Connection(int(sys.argv[1])))
