"""One bounded HTTP exchange: a deadline over everything, addresses from the gate, decompression in steps.

httpx times each read, not the whole; and it would connect to any address that a name resolves to. Both are
mended below it, where httpcore opens sockets.
"""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from tasks.contracts.addresses import join_web_address
from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy

CONNECT_SECONDS = 10.0
CHUNK = 65536
REDIRECTS = (301, 302, 303, 307, 308)


class Deadline:
    """A moment that every read, write and connection of one exchange must respect."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises `PageRejected("timeout")` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise PageRejected("timeout", "the deadline has passed")
        return left


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; the body is empty for a redirect."""

    url: str
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower() or "text/html"

    @property
    def redirect(self) -> str | None:
        """The absolute address that a redirect names."""
        if self.status not in REDIRECTS:
            return None
        location: str = self.headers.get("location", "").strip()
        target = join_web_address(self.url, location) if location else None
        if target is None:
            raise PageRejected("bad_redirect", f"HTTP {self.status} to {location or 'nowhere'}")
        return target


class HttpClient:
    """GET with limits, one exchange at a time in each thread. Threads share connections, not deadlines or cookies."""

    def __init__(self, user_agent: str, gate: EgressPolicy) -> None:
        self._network = GuardedBackend(gate)
        transport = self._transport = httpx.HTTPTransport()
        # The pool is where httpcore takes a network backend; httpx passes none through.
        transport._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,  # httpcore's own bound of 10 would let hosts wait for each other
            max_keepalive_connections=64,
            keepalive_expiry=15.0,
            network_backend=self._network,
        )
        # Only gzip is asked for, since only zlib can be told to stop at a size.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip", "Accept": "text/html, text/plain;q=0.8"}
        self._of_thread = threading.local()

    @property
    def _client(self) -> httpx.Client:
        """This thread's own, over the transport of all."""
        if not hasattr(self._of_thread, "client"):
            self._of_thread.client = httpx.Client(
                transport=self._transport, headers=self._headers, trust_env=False, timeout=None
            )
        client: httpx.Client = self._of_thread.client
        return client

    def close(self) -> None:
        self._transport.close()

    def forget_cookies(self) -> None:
        self._client.cookies.clear()

    def cookie_names(self) -> frozenset[str]:
        return frozenset(cookie.name for cookie in self._client.cookies.jar)

    def get(
        self,
        url: str,
        *,
        deadline: Deadline,
        max_bytes: int,
        media_types: frozenset[str] | None = None,
        truncate: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """One exchange, redirects not followed. `media_types` None takes any; `truncate` cuts what is too large.

        Raises:
            Refused: with the outcome's name, for all but a success or a redirect.
        """
        self._network.deadline = deadline
        try:
            with self._client.stream("GET", url, headers=headers) as streamed:
                answer = Response(url, streamed.status_code, streamed.headers, b"")
                if answer.status in REDIRECTS:
                    return answer
                refuse_bad_status(answer)
                if media_types is not None and answer.media_type not in media_types:
                    raise PageRejected("unsupported_media_type", answer.media_type)
                body = b"".join(_read_bounded(streamed, max_bytes, truncate))
                return Response(url, answer.status, answer.headers, body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            raise _named(error) from error


def refuse_bad_status(answer: Response) -> None:
    """Raises `PageRejected` unless the status is a success."""
    status = answer.status
    if 200 <= status < 300:
        return
    retry_after = _retry_after(answer.headers.get("retry-after", ""))
    if status == 304:
        reason = "unchanged"
    elif status in (404, 410):
        reason = "not_found"
    elif status in (401, 403, 451):
        reason = "forbidden"
    elif status == 429:
        reason = "too_many_requests"
    elif status >= 500 or status == 408:
        reason = "server_error"
    elif status >= 400:
        reason = "http_error"
    else:
        reason = "bad_redirect"
    raise PageRejected(reason, f"HTTP {status}", retry_after)


def _retry_after(value: str) -> float | None:
    """Seconds, from a number or a date (RFC 9110)."""
    if value.strip().isdigit():
        return min(float(value), 1e9)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())


def _read_bounded(streamed: httpx.Response, max_bytes: int, truncate: bool) -> Iterator[bytes]:
    encoding = streamed.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise PageRejected("bad_encoding", encoding)
    declared = streamed.headers.get("content-length", "")
    if not truncate and declared.isdigit() and int(declared) > max_bytes:
        raise PageRejected("too_large", f"{declared} bytes announced")
    total = 0
    raw = streamed.iter_raw(CHUNK)
    for piece in raw if encoding in ("", "identity") else _inflate(raw):
        total += len(piece)
        if total > max_bytes:
            if truncate:
                yield piece[: len(piece) - (total - max_bytes)]
                return
            raise PageRejected("too_large", f"more than {max_bytes} bytes")
        yield piece


def _inflate(raw: Iterable[bytes]) -> Iterator[bytes]:
    """65 kB of gzip can hold 67 MB: never more than one chunk at a time."""
    decoder = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    try:
        for chunk in raw:
            left = chunk
            while left:
                yield decoder.decompress(left, CHUNK)
                left = decoder.unconsumed_tail
                if decoder.eof and (left := decoder.unused_data):
                    decoder = zlib.decompressobj(wbits=47)
        yield decoder.decompress(b"", CHUNK)
    except zlib.error as error:
        raise PageRejected("bad_encoding", str(error)) from error


def _named(error: Exception) -> PageRejected:
    """The outcome that an exception of httpx stands for."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return PageRejected("tls_error", str(cause))
            cause = cause.__cause__ or cause.__context__
        return PageRejected("dead_host", str(error))
    if isinstance(error, httpx.RemoteProtocolError) and "location header" in str(error):
        return PageRejected("bad_redirect", str(error))  # httpx looks at it although it is not to follow
    if isinstance(error, httpx.TimeoutException):
        return PageRejected("timeout", text)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return PageRejected("bad_url", text)
    return PageRejected("connection_error", text)


class GuardedStream(httpcore.NetworkStream):
    """A socket whose every operation ends at the deadline of the current exchange."""

    def __init__(self, stream: httpcore.NetworkStream, network: GuardedBackend) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._network.deadline.left())
        return GuardedStream(stream, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the addresses that the gate has checked, never to a name."""

    def __init__(self, gate: EgressPolicy) -> None:
        self._of_thread = threading.local()
        self._gate = gate
        self._sockets = httpcore.SyncBackend()

    @property
    def deadline(self) -> Deadline:
        """Of this thread's exchange."""
        deadline: Deadline = self._of_thread.deadline
        return deadline

    @deadline.setter
    def deadline(self, deadline: Deadline) -> None:
        self._of_thread.deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._gate.addresses(host, port, self.deadline.left()):
            try:
                seconds = min(CONNECT_SECONDS, self.deadline.left())
                stream = self._sockets.connect_tcp(address, port, seconds, local_address, socket_options)
                return GuardedStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure
