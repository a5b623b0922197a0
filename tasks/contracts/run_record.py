"""What a run did: messages as they come, counts by stage and reason, seconds and peak memory by stage.

Kept on disk as `reports/<run>/report.json`; `report.py` turns it into what a person reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import psutil

from tasks.contracts.printable import printable, printable_values

SAMPLE_SECONDS = 0.5


@dataclass(slots=True)
class StageRecord:
    seconds: float = 0.0
    peak_bytes: int = 0  # proportional set size of our whole process tree
    counts: Counter[str] = field(default_factory=Counter)


class Listener(Protocol):
    """Receives messages while the run goes on: the terminal, Prefect's log."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, of: int, detail: str) -> None: ...


class Silent:
    """A listener that ignores everything."""

    def message(self, text: str) -> None:
        pass

    def progress(self, what: str, done: int, of: int, detail: str) -> None:
        pass


class RunRecord:
    """Collects what happens while the run goes on."""

    def __init__(self, profile: str, listen: Listener) -> None:
        self.profile = profile
        self.listener = listen
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%d_%H%M%S}_{profile}"
        self.stages: dict[str, StageRecord] = {}
        self.messages: list[str] = []
        self.training: dict[str, Any] = {}
        self.outcome = "running"
        self.summary = ""  # the night in one line, once it is over
        self.current = ""  # between two stages

    def say(self, message: str) -> None:
        message = printable(message)
        self.messages.append(message)
        self.listener.message(message)

    def progress(self, what: str, done: int, of: int, detail: str = "") -> None:
        """Tell the listener how far a long step is; not kept in the record."""
        self.listener.progress(what, done, of, printable(detail))

    def count(self, stage: str, reason: str, number: int = 1) -> None:
        self._stage(stage).counts[reason] += number

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the seconds and the peak memory of what runs inside."""
        before, self.current = self.current, name
        start = time.monotonic()
        try:
            yield
        finally:
            record = self._stage(name)
            record.seconds += time.monotonic() - start
            if not record.peak_bytes:  # over before the watcher looked
                record.peak_bytes = tree_bytes()
            self.current = before

    @contextmanager
    def watching_memory(self) -> Iterator[None]:
        """Sample the memory of this process and all its children in every stage until the block ends."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(SAMPLE_SECONDS):
                if stage := self.current:
                    record = self._stage(stage)
                    record.peak_bytes = max(record.peak_bytes, tree_bytes())

        watcher = threading.Thread(target=watch, daemon=True, name="memory-watch")
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _stage(self, name: str) -> StageRecord:
        return self.stages.setdefault(name, StageRecord())

    def as_dict(self) -> dict[str, Any]:
        """Returns what the report, the terminal and Prefect show; its texts may be shown as they are."""
        values: dict[str, Any] = {
            "run": self.run_id,
            "profile": self.profile,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round((datetime.now(UTC) - self.started).total_seconds(), 1),
            "outcome": self.outcome,
            "stages": {
                name: {
                    "seconds": round(stage.seconds, 2),
                    "peak_mb": round(stage.peak_bytes / 1e6),
                    "counts": dict(sorted(stage.counts.items())),
                }
                for name, stage in self.stages.items()
            },
            "training": self.training,
            "messages": self.messages,
        }
        shown: dict[str, Any] = printable_values(values)
        return shown


def tree_bytes() -> int:
    """Returns the memory of this process and its children: PSS, so that what Chromium's processes share counts once."""
    total = 0
    own = psutil.Process(os.getpid())
    for process in [own, *own.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, AttributeError):
            continue  # it ended meanwhile, or the kernel does not tell
    return total
