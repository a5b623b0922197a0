"""One queue for each host: items of a host in order and one at a time, several hosts at once (Mercator)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


class HostQueues(Generic[T, R]):
    """Runs `work` on items in threads.

    The host that may be asked soonest comes first, so that no thread waits for one host while another is ready. When
    `stop` is set, or `work` raises, no further item is started.

    Args:
        ready_at: returns the epoch seconds from which a host may be asked.
        workers: how many hosts are asked at once.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        host_of: Callable[[T], str],
        ready_at: Callable[[str], float],
        workers: int,
        stop: threading.Event,
    ) -> None:
        self._work, self._host_of, self._ready_at = work, host_of, ready_at
        self._workers, self._stop = workers, stop
        self._threads: list[threading.Thread] = []

    def run(self, items: Sequence[T]) -> list[R]:
        """Returns one result for each item, in the order given.

        Raises the first exception of `work`; other items may still be running then.
        """
        queues: dict[str, deque[int]] = {}
        for number, item in enumerate(items):
            queues.setdefault(self._host_of(item), deque()).append(number)
        if min(self._workers, len(queues)) <= 1:
            return [self._work(item) for item in items]
        results: dict[int, R] = {}
        busy: set[str] = set()
        finished: SimpleQueue[tuple[str, int, R | None, BaseException | None]] = SimpleQueue()

        def work(host: str, number: int) -> None:
            try:
                finished.put((host, number, self._work(items[number]), None))
            except BaseException as error:
                finished.put((host, number, None, error))

        self._threads = []
        while len(results) < len(items):
            free = [host for host, queue in queues.items() if queue and host not in busy]
            if free and len(busy) < self._workers and not self._stop.is_set():
                host = min(free, key=self._ready_at)
                busy.add(host)
                arguments = (host, queues[host].popleft())
                self._threads.append(threading.Thread(target=work, args=arguments, daemon=True, name="host-queue"))
                self._threads[-1].start()
            else:
                with suppress(Empty):  # a timeout, so that Ctrl-C is noticed
                    host, number, result, error = finished.get(timeout=1.0)
                    if error is not None:
                        raise error
                    results[number] = cast(R, result)
                    busy.remove(host)
        return [results[number] for number in range(len(items))]

    def join(self, seconds: float) -> None:
        """Waits for the threads, up to `seconds` for each."""
        for thread in self._threads:
            thread.join(seconds)
