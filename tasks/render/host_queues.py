"""One queue for each host: items of a host in order and one at a time, several hosts at once (Mercator)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class HostQueues(Generic[T, R]):
    """Runs `work` on items in threads.

    The host that may be asked soonest comes first, so that no worker waits for one host while another is ready. When
    `stop` is set, or `work` raises, no further item is started.

    Args:
        ready_at: returns the epoch seconds from which a host may be asked.
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
        workers = min(self._workers, len(queues))
        if workers <= 1:
            return [self._work(item) for item in items]
        batch: _Batch[T, R] = _Batch(items, queues)
        self._threads = [
            threading.Thread(target=self._serve, args=(batch,), daemon=True, name=f"host-queue-{number}")
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()
        with batch.changed:
            while batch.failure is None and len(batch.results) < len(items):
                batch.changed.wait(1.0)  # with a timeout, so that Ctrl-C is noticed
            failure = batch.failure
        if failure is not None:
            raise failure
        self.join(5.0)
        return [batch.results[number] for number in range(len(items))]

    def join(self, seconds: float) -> None:
        """Waits for the threads, up to `seconds` for each."""
        for thread in self._threads:
            thread.join(seconds)

    def _serve(self, batch: _Batch[T, R]) -> None:
        while (taken := self._take(batch)) is not None:
            host, number = taken
            try:
                result = self._work(batch.items[number])
            except BaseException as error:
                with batch.changed:
                    batch.failure = batch.failure or error
                    batch.changed.notify_all()
                return
            with batch.changed:
                batch.results[number] = result
                batch.busy.discard(host)
                batch.changed.notify_all()

    def _take(self, batch: _Batch[T, R]) -> tuple[str, int] | None:
        """Returns the next item of the host that is ready first; None when no item is left to start."""
        with batch.changed:
            while not self._stop.is_set() and batch.failure is None:
                waiting = [host for host, queue in batch.queues.items() if queue]
                free = [host for host in waiting if host not in batch.busy]
                if free:
                    host = min(free, key=self._ready_at)
                    batch.busy.add(host)
                    return host, batch.queues[host].popleft()
                if not waiting:
                    return None
                batch.changed.wait(1.0)
            return None


class _Batch(Generic[T, R]):
    """The state of one `run`; `changed` guards it."""

    def __init__(self, items: Sequence[T], queues: dict[str, deque[int]]) -> None:
        self.items, self.queues = items, queues  # by host: numbers of items not started
        self.busy: set[str] = set()  # hosts
        self.results: dict[int, R] = {}
        self.failure: BaseException | None = None
        self.changed = threading.Condition()
