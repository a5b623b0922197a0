"""Work in lanes: within a lane in order and one at a time, several lanes at once, the results in the order given."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class HostQueues(Generic[T, R]):
    """`HostQueues(work, lane_of, ready_at, workers, stop).run(items)`.

    The lane that may go on soonest comes first, so that no worker waits for one lane while another is ready. When
    `stop` is set, or `work` raises, no further item is begun.
    """

    def __init__(
        self,
        work: Callable[[T], R],
        lane_of: Callable[[T], str],
        ready_at: Callable[[str], float],
        workers: int,
        stop: threading.Event,
    ) -> None:
        self._work, self._lane_of, self._ready_at = work, lane_of, ready_at
        self._workers, self._stop = workers, stop
        self._threads: list[threading.Thread] = []

    def run(self, items: Sequence[T]) -> list[R]:
        """One result for each item. Raises what `work` raised first; then items may still be under way."""
        lanes: dict[str, deque[int]] = {}
        for number, item in enumerate(items):
            lanes.setdefault(self._lane_of(item), deque()).append(number)
        if min(self._workers, len(lanes)) <= 1:
            return [self._work(item) for item in items]
        batch: _Batch[T, R] = _Batch(items, lanes)
        self._threads = [
            threading.Thread(target=self._serve, args=(batch,), daemon=True, name=f"lane-{number}")
            for number in range(min(self._workers, len(lanes)))
        ]
        for thread in self._threads:
            thread.start()
        with batch.changed:
            while batch.failure is None and len(batch.results) < len(items):
                batch.changed.wait(1.0)  # with a bound, so that Ctrl-C is heard
            failure = batch.failure
        if failure is not None:
            raise failure
        self.join(5.0)
        return [batch.results[number] for number in range(len(items))]

    def join(self, seconds: float) -> None:
        """Wait until the workers are done; each for so long at most."""
        for thread in self._threads:
            thread.join(seconds)

    def _serve(self, batch: _Batch[T, R]) -> None:
        while (taken := self._take(batch)) is not None:
            lane, number = taken
            try:
                result = self._work(batch.items[number])
            except BaseException as error:
                with batch.changed:
                    batch.failure = batch.failure or error
                    batch.changed.notify_all()
                return
            with batch.changed:
                batch.results[number] = result
                batch.busy.discard(lane)
                batch.changed.notify_all()

    def _take(self, batch: _Batch[T, R]) -> tuple[str, int] | None:
        """The next item of the lane that is ready first; None when there is nothing left to begin."""
        with batch.changed:
            while not self._stop.is_set() and batch.failure is None:
                waiting = [lane for lane, left in batch.lanes.items() if left]
                free = [lane for lane in waiting if lane not in batch.busy]
                if free:
                    lane = min(free, key=self._ready_at)
                    batch.busy.add(lane)
                    return lane, batch.lanes[lane].popleft()
                if not waiting:
                    return None
                batch.changed.wait(1.0)
            return None


class _Batch(Generic[T, R]):
    def __init__(self, items: Sequence[T], lanes: dict[str, deque[int]]) -> None:
        self.items, self.lanes = items, lanes
        self.busy: set[str] = set()
        self.results: dict[int, R] = {}
        self.failure: BaseException | None = None
        self.changed = threading.Condition()
