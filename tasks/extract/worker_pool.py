"""The child processes that extract pages (`worker.py`): a page that hangs or eats memory costs only itself."""

from __future__ import annotations

import os
import struct
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Self

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.settings import ExtractSettings
from tasks.extract.extracted_page import ExtractedPage, PageFile
from tasks.processes.process_pool import ProcessDied, ProcessPool
from tasks.web.border import Border

# Bytes. Tags alone take up to 250 times their size in memory: of these pages one is extracted at a time, and none
# ahead, while Chromium may be large too.
LARGE = 500_000


class Extractor:
    """`with Extractor(settings) as extractor:` extracts pages in a few children, each started when first needed."""

    def __init__(self, settings: ExtractSettings, border: Border | None = None) -> None:
        self.settings = settings
        self.border = border or Border()
        self.pool = ProcessPool(
            settings.workers, seconds=settings.timeout_seconds, initializer=partial(_bound, settings.memory_megabytes)
        )
        self._begun: dict[PageFile, Future[ExtractedPage]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.close()

    def file(self, path: str, url: str, charset: str | None, media_type: str, *, links: bool) -> PageFile:
        """What a child is told of a file, `extract.consensus` included."""
        return PageFile(path, url, charset, media_type, links, self.settings.consensus)

    def prefetch(self, page: PageFile) -> None:
        """Let a child extract the page while others are fetched; a large one waits until `extract` asks for it.

        For any thread: two that begin the same have it extracted twice at worst.
        """
        if page not in self._begun and _size(page.path) <= LARGE:
            self._begun[page] = self.pool.submit(_extract, page)

    def extract(self, page: PageFile) -> ExtractedPage:
        """Wait for the page's text.

        Raises:
            PageRejected: `extract_timeout` or `extract_failed`; the next page gets a new child.
        """
        try:
            return (self._begun.pop(page, None) or self.pool.submit(_extract, page)).result()
        except TimeoutError as error:
            raise PageRejected("extract_timeout", str(error)) from error
        except ProcessDied as error:
            raise PageRejected("extract_failed", str(error)) from error
        except MemoryError as error:
            raise PageRejected("extract_failed", "out of memory") from error
        except Exception as error:
            self.border.note(page.url, error)
            raise PageRejected("extract_failed", f"{type(error).__name__}: {error}") from error


def _bound(megabytes: int) -> None:
    """Begin a child: import the parsers, which are no page's fault, then bound its memory."""
    from tasks.extract.worker import bound_process

    bound_process(megabytes)


def _extract(page: PageFile) -> ExtractedPage:
    from tasks.extract.worker import extract_file

    return extract_file(page)


def _size(path: str) -> int:
    """Bytes of a file; of a packed one, those it will have (RFC 1952 has them at its end). 0 where there is none."""
    with suppress(OSError, struct.error), open(path, "rb") as file:
        if not path.endswith(".gz"):
            return os.fstat(file.fileno()).st_size
        file.seek(-4, os.SEEK_END)
        size: int = struct.unpack("<I", file.read())[0]
        return size
    return 0
