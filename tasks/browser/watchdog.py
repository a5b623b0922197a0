"""Watches a browser's processes from outside, since a page can make them hang or grow until they stop answering."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psutil

from tasks.processes.process_tree import kill

POLL_SECONDS = 0.1
# A starting renderer reserves gigabytes for a moment, gives them back, and keeps some 600 MB that it does not use. So
# it gets its memory limit after it was seen a few times; a limit inherited from its zygote would kill it.
STARTED_AFTER = 3
STARTED_BYTES = 300_000_000


class Watch:
    """`with Watch(tree, seconds, idle_bytes, page_bytes) as watch:` kills the tree at its deadline or memory limit.

    `page_bytes` is what a page may add to the private memory of all processes together. A page can take gigabytes
    between two checks, so each process that runs pages also gets a limit from the kernel, at which Chromium gives the
    page up by itself. Afterwards, `why` says why the tree was killed ("" where it was not) and `late` whether it was
    the deadline.
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
        self.bytes = 0  # private memory at the last check

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
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
                    if seen[process] == STARTED_AFTER:
                        cap_page(process, self._page_bytes)


def private_bytes(process: psutil.Process) -> int:
    """Returns the memory that it shares with no other process; far cheaper than its proportional set size."""
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return 0


def cap_page(process: psutil.Process, page_bytes: int) -> None:
    """Sets a memory limit in the kernel for a process that runs pages; leaves other processes alone."""
    with suppress(psutil.Error, OSError):
        if "--type=renderer" in process.cmdline() and (base := _data_bytes(process)) > STARTED_BYTES:
            process.rlimit(psutil.RLIMIT_DATA, (base + page_bytes, base + page_bytes))


def _data_bytes(process: psutil.Process) -> int:
    """Returns what the kernel counts for RLIMIT_DATA; V8 alone reserves hundreds of megabytes before any page."""
    with suppress(OSError, ValueError), open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:")), 0)
    return 0
