"""The child process that reads pages (`tasks.article`): started when needed, killed at a deadline, started again."""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tasks.layout import PROJECT
from tasks.outcomes import Refused
from tasks.settings import ExtractSettings

START_SECONDS = 60.0  # importing trafilatura on a busy machine
CHILD = (sys.executable, "-m", "tasks.article")


class Extractor:
    """`with Extractor(settings) as extractor:`; its child starts with the first page."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings
        self._child: subprocess.Popen[bytes] | None = None
        self._fresh = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the child, while there is one."""
        return self._child.pid if self._child else None

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

    def read(self, path: str, url: str, charset: str | None, media_type: str) -> dict[str, Any]:
        """What `tasks.article.read_article` says of the file.

        Raises:
            Refused: `extract_timeout` or `extract_failed`; the next page gets a new child.
        """
        page = {"path": path, "url": url, "charset": charset, "media_type": media_type}
        request = json.dumps({**page, "consensus": self.settings.consensus}).encode()
        child = self._started()
        # A child that has just been started imports first; that is not the page's fault.
        seconds = self.settings.timeout_seconds + (START_SECONDS if self._fresh else 0.0)
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(struct.pack(">I", len(request)) + request)
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(_read_frame(child.stdout.fileno(), seconds))
        except TimeoutError as error:
            self.close()
            raise Refused("extract_timeout", f"{self.settings.timeout_seconds:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            status = child.poll()
            self.close()
            raise Refused("extract_failed", f"its process ended ({status})") from error
        self._fresh = False
        if "error" in answer:
            self.close()
            raise Refused("extract_failed", answer["error"])
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [*CHILD, str(self.settings.memory_megabytes)],
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._fresh = True
        return self._child


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
