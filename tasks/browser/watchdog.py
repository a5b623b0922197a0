"""Watches a browser's processes from outside, since a page can hang or bloat them so that they answer no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

from tasks.processes.process_tree import kill

POLL_SECONDS = 0.1
# A renderer that starts reserves and gives back gigabytes for a moment, then keeps some 600 MB that it does not use:
# it is bounded once it was seen a few times. Inherited from the zygotes it starts from, the bound would end it.
SETTLED = 3
STARTED_BYTES = 300_000_000


class Watch:
    """`with Watch(tree, seconds, idle_bytes, page_bytes) as watch:` ends the tree when it takes longer, or too much.

    `page_bytes` is what a page may add to the private memory of all its processes together. Since it can take
    gigabytes between two looks, each process that runs pages gets a bound from the kernel too, at which Chromium
    gives the page up by itself. `why` says afterwards what the tree was ended for: "" for nothing; `late`, whether it
    was the deadline.
    """

    def __init__(
        self,
        tree: Callable[[], list[psutil.Process]],
        seconds: float,
        idle_bytes: int = 0,
        page_bytes: int | None = None,
    ) -> None:
        self._tree, self._seconds, self._idle_bytes, self._page_bytes = tree, seconds, idle_bytes, page_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="browser-watch")
        self.why = ""
        self.late = False
        self.bytes = 0  # when it was last looked at

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        ends = time.monotonic() + self._seconds
        seen: dict[psutil.Process, int] = {}
        while not self._done.wait(min(POLL_SECONDS, max(0.0, ends - time.monotonic()))):
            tree = self._tree()
            self.bytes = sum(map(private_bytes, tree))
            if self._page_bytes is not None and self.bytes > self._idle_bytes + self._page_bytes:
                self.why = f"took more than {self._page_bytes // 1_000_000} MB (render.browser_megabytes)"
            elif time.monotonic() >= ends:
                self.why, self.late = f"Chromium hung; killed after {self._seconds:.0f} s", True
            if self.why:
                kill(tree)
                return
            if self._page_bytes is not None:
                for process in tree:
                    seen[process] = seen.get(process, 0) + 1
                    if seen[process] == SETTLED:
                        cap_page(process, self._page_bytes)


def private_bytes(process: psutil.Process) -> int:
    """What it shares with no other process; cheap to ask for, unlike its proportional set size."""
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return 0


def cap_page(process: psutil.Process, page_bytes: int) -> None:
    """Let a process that runs pages grow by so much and not further, however fast it is; leave others alone."""
    if _kind(process) == "renderer" and (base := _data_bytes(process)) > STARTED_BYTES:
        with suppress(psutil.Error, OSError):
            process.rlimit(psutil.RLIMIT_DATA, (base + page_bytes, base + page_bytes))


def _kind(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return next((word[7:] for word in process.cmdline() if word.startswith("--type=")), "")
    return ""


def _data_bytes(process: psutil.Process) -> int:
    """As the kernel counts it for the limit; V8 alone reserves hundreds of megabytes before the first page."""
    with suppress(OSError, ValueError), open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:")), 0)
    return 0
