"""The child processes that extract pages (`worker.py`): started when needed, killed at a deadline, restarted."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import selectors
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.paths import PROJECT
from tasks.contracts.settings import ExtractSettings

START_SECONDS = 60.0  # importing trafilatura on a busy machine
CHILD = (sys.executable, "-m", "tasks.extract.worker")
# Bytes. Tags alone take up to 250 times their size in memory: of these one is read at a time, and none ahead, while
# Chromium may be large too.
LARGE = 500_000


@dataclass(frozen=True, slots=True)
class Request:
    """A file to read. `links`: whether the page's links are wanted; comparing them is an eighth of the work."""

    path: str
    url: str
    charset: str | None
    media_type: str
    links: bool = True


class Extractor:
    """`with Extractor(settings) as extractor:` reads pages in a few children, each started when it is first needed."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings
        workers = settings.workers or min(2, os.cpu_count() or 1)
        self._readers = [Reader(settings) for _ in range(workers)]
        self._free: queue.LifoQueue[Reader] = queue.LifoQueue()  # the one used last first: one page needs one child
        for reader in self._readers:
            self._free.put(reader)
        # A child ends with the thread that started it, so these live as long as we do.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="extract")
        self._begun: dict[Request, Future[dict[str, Any]]] = {}
        self._large = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Of the children there are."""
        return [reader.pid for reader in self._readers if reader.pid is not None]

    def close(self) -> None:
        """What was begun and not asked for is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for reader in self._readers:
            reader.end()
        self._threads.shutdown(wait=True)
        for reader in self._readers:
            reader.close()

    def begin_ahead(self, request: Request) -> None:
        """`begin`, while other pages are fetched; a large one waits until they are there."""
        if _size(request.path) <= LARGE:
            self.begin(request)

    def begin(self, request: Request) -> None:
        """Let a child read the file; `read` gives what came of it.

        For any thread: two that begin the same have it read twice at worst.
        """
        if request not in self._begun:
            self._begun[request] = self._threads.submit(self._read, request)

    def read(self, request: Request) -> dict[str, Any]:
        """What `tasks.extract.worker.read_article` says of the file.

        Raises:
            Refused: `extract_timeout` or `extract_failed`; the next page gets a new child.
        """
        begun = self._begun.pop(request, None) or self._threads.submit(self._read, request)
        return begun.result()

    def _read(self, request: Request) -> dict[str, Any]:
        with self._large if _size(request.path) > LARGE else nullcontext():
            reader = self._free.get()
            try:
                return reader.read(request)
            finally:
                self._free.put(reader)


class Reader:
    """One child, started with the first page, and again after one that cost it its life."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid if self._child else None

    def end(self) -> None:
        """For good, from another thread: what is being read fails."""
        self._ended = True
        if child := self._child:
            child.kill()

    def close(self) -> None:
        """The child holds nothing worth saving: kill it."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def read(self, request: Request) -> dict[str, Any]:
        """As `Extractor.read`."""
        order = json.dumps({**dataclasses.asdict(request), "consensus": self.settings.consensus}).encode()
        child = self._started()
        seconds = self.settings.timeout_seconds
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(struct.pack(">I", len(order)) + order)
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(_read_frame(child.stdout.fileno(), seconds))
        except TimeoutError as error:
            self.close()
            raise PageRejected("extract_timeout", f"{seconds:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            status = child.poll()
            self.close()
            raise PageRejected("extract_failed", f"its process ended ({status})") from error
        if "error" in answer:
            self.close()
            raise PageRejected("extract_failed", answer["error"])
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        """The child, once it has imported what it needs. Raises Refused."""
        if self._child is not None:
            return self._child
        child = self._child = subprocess.Popen(
            [*CHILD, str(self.settings.memory_megabytes)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            if self._ended:  # `end` came before the child did
                raise EOFError("the night ended")
            assert child.stdout is not None
            _read_frame(child.stdout.fileno(), START_SECONDS)
        except (TimeoutError, EOFError) as error:
            self.close()
            raise PageRejected("extract_failed", f"its process does not start {error}".strip()) from error
        return child


def _size(path: str) -> int:
    """Bytes of a file; of a packed one, those it will have (RFC 1952 has them at its end). 0 where there is none."""
    with suppress(OSError, struct.error), open(path, "rb") as file:
        if not path.endswith(".gz"):
            return os.fstat(file.fileno()).st_size
        file.seek(-4, os.SEEK_END)
        size: int = struct.unpack("<I", file.read())[0]
        return size
    return 0


def _read_frame(handle: int, seconds: float) -> bytes:
    """One frame within a time. Raises TimeoutError, or EOFError when the child is gone."""
    end = time.monotonic() + seconds
    size = struct.unpack(">I", _read_exactly(handle, 4, end))[0]
    return _read_exactly(handle, size, end)


def _read_exactly(handle: int, size: int, end: float) -> bytes:
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        while len(content) < size:
            left = end - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise TimeoutError
            piece = os.read(handle, min(size - len(content), 65536))
            if not piece:
                raise EOFError
            content += piece
    return bytes(content)
