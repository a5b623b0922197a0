"""HTTP requests with limits: one deadline for all of it, checked addresses only, decompression in small steps.

httpx limits each read and not the whole request, and it connects to any address that a name resolves to. Both are
corrected one layer below, where httpcore opens its sockets.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from tasks.contracts.addresses import join_web_address
from tasks.contracts.credentials import Credentials, without_user
from tasks.contracts.outcomes import PageRejected
from tasks.web.content_encoding import decoded
from tasks.web.egress import EgressPolicy
from tasks.web.user_proxy import UserProxy

CONNECT_SECONDS = 10.0
CHUNK = 65536
LONGEST_RETRY_AFTER = 7 * 86_400.0  # seconds; who asks for more means "not soon"
REDIRECTS = (301, 302, 303, 307, 308)
HTML = frozenset(("text/html", "application/xhtml+xml"))
# The parameter of a Content-Type, or the quoted value of another one, in which no parameter stands.
CHARSET = re.compile(r"(?<![\w-])charset\s*=\s*[\"']?([\w.:-]+)|=\s*\"(?:[^\"\\]|\\.)*\"", re.IGNORECASE)
# The outcome of an HTTP status; what is not listed is named by its class in `reject_bad_status`.
OUTCOME_OF_STATUS = {
    304: "unchanged",
    **dict.fromkeys((404, 410), "not_found"),
    **dict.fromkeys((401, 403, 451), "forbidden"),
    407: "proxy_failed",
    408: "server_error",
    429: "too_many_requests",
}


class Deadline:
    """The moment at which every read, write and connection attempt of one request ends."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Returns the seconds left. Raises `PageRejected("timeout")` when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise PageRejected("timeout", "the deadline has passed")
        return left


@dataclass(frozen=True, slots=True)
class Response:
    """A fetched page: by the HTTP client (then the body of a redirect is empty) or as Chromium rendered it."""

    url: str
    status: int  # 0 where a script wrote the document
    headers: httpx.Headers
    body: bytes
    robots: str = ""  # the evidence: what robots.txt, the headers and meta tags allow
    rendered: bool = False  # by Chromium
    history: tuple[Response, ...] = ()  # in Chromium: the answers to all requests for the document, redirects first
    frames: tuple[Frame, ...] = ()  # in Chromium: those that have more text than the page; outer ones first

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower() or "text/html"

    @property
    def charset(self) -> str | None:
        """The encoding that the Content-Type header names."""
        labels = CHARSET.findall(self.headers.get("content-type", ""))
        return next((label.lower() for label in labels if label), None)

    @property
    def redirect(self) -> str | None:
        """The absolute URL that a redirect names. Raises `PageRejected("bad_redirect")` where it names none."""
        if self.status not in REDIRECTS:
            return None
        location: str = self.headers.get("location", "").strip()
        target = join_web_address(self.url, location) if location else None
        if target is None:
            raise PageRejected("bad_redirect", f"HTTP {self.status} to {location or 'nowhere'}")
        return target


@dataclass(frozen=True, slots=True)
class Frame:
    """A document inside a page that Chromium rendered."""

    mark: bytes  # stands for it in the body of the page, or of the frame around it
    inside: bytes  # the HTML of its body
    response: Response  # with its meta tags as the body


class HttpClient:
    """GET with limits, one request at a time in each thread. Threads share connections, not deadlines or cookies."""

    def __init__(self, user_agent: str, egress: EgressPolicy, credentials: Credentials | None = None) -> None:
        self._credentials = credentials or Credentials()
        self._transport = RoutingTransport(egress)
        # Only gzip, since zlib is the decompressor that can stop at a size.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip", "Accept": "text/html, text/plain;q=0.8"}
        self._thread = threading.local()

    @property
    def _client(self) -> httpx.Client:
        """The client of this thread, over the transport of all threads."""
        if not hasattr(self._thread, "client"):
            self._thread.client = httpx.Client(
                transport=self._transport, headers=self._headers, trust_env=False, timeout=None
            )
        client: httpx.Client = self._thread.client
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
        """Sends one request; does not follow redirects.

        Args:
            media_types: those that are accepted; None accepts any.
            truncate: cut a body that is too large, instead of rejecting the page.

        Raises:
            PageRejected: for every answer but a success or a redirect, with the name of the outcome.
        """
        self._transport.thread.deadline = deadline
        url = without_user(url)  # a stranger's link must not have us log in
        try:
            headers = {**(headers or {}), **self._credentials.authorization(url)}
            with self._client.stream("GET", url, headers=headers) as streamed:
                response = Response(url, streamed.status_code, streamed.headers, b"")
                if response.status in REDIRECTS:
                    return response
                reject_bad_status(response)
                if media_types is not None and response.media_type not in media_types:
                    raise PageRejected("unsupported_media_type", response.media_type)
                is_text = response.media_type in HTML | {"text/plain"}
                return replace(response, body=b"".join(_read_bounded(streamed, max_bytes, truncate, is_text)))
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            raise _rejection(error) from error


def follow_redirects(
    url: str,
    fetch: Callable[[str], Response],
    max_redirects: int,
    target_of: Callable[[Response], str | None] = lambda response: response.redirect,
) -> Response:
    """Fetches a URL and what it redirects to. `fetch` gets each URL on the way, and must check it before it asks.

    Raises:
        PageRejected: `redirect_loop` after `max_redirects`, or what `fetch` and `target_of` raise.
    """
    for _ in range(max_redirects + 1):
        response = fetch(url)
        if (target := target_of(response)) is None:
            return response
        url = target
    raise PageRejected("redirect_loop", f"more than {max_redirects} redirects")


def conditional_headers(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """Returns headers that ask for a page only if it changed since the visit that gave these validators.

    Those that are no ASCII, which no header may be, are left out.
    """
    conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in conditions.items() if value and value.isascii()}


def reject_bad_status(response: Response) -> None:
    """Raises `PageRejected` unless the status is a success."""
    status = response.status
    if not 200 <= status < 300:
        by_class = "bad_redirect" if status < 400 else "http_error" if status < 500 else "server_error"
        retry_after = _retry_after(response.headers.get("retry-after", ""))
        raise PageRejected(OUTCOME_OF_STATUS.get(status, by_class), f"HTTP {status}", retry_after)


def _retry_after(value: str) -> float | None:
    """Returns seconds, from a number or a date (RFC 9110), a week at most; None for anything else."""
    try:
        if value.strip().isdecimal():
            seconds = float(value)
        else:
            at = parsedate_to_datetime(value)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)


def _read_bounded(streamed: httpx.Response, max_bytes: int, truncate: bool, is_text: bool) -> Iterator[bytes]:
    declared = streamed.headers.get("content-length", "")
    if not truncate and declared.isdigit() and int(declared) > max_bytes:
        raise PageRejected("too_large", f"{declared} bytes announced")
    total = 0
    encoding = streamed.headers.get("content-encoding", "")
    for piece in decoded(streamed.iter_raw(CHUNK), encoding, max_bytes, is_text=is_text):
        total += len(piece)
        if total > max_bytes:
            if truncate:
                yield piece[: len(piece) - (total - max_bytes)]
                return
            raise PageRejected("too_large", f"more than {max_bytes} bytes")
        yield piece


def _rejection(error: Exception) -> PageRejected:
    """Returns the outcome that an exception of httpx stands for."""
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return PageRejected("tls_error", str(cause))
            cause = cause.__cause__ or cause.__context__
        return PageRejected("dead_host", str(error))
    if isinstance(error, httpx.ProxyError):  # its answer to CONNECT; those of gateways are about the host
        gateway = str(error).startswith(("502", "503", "504"))
        return PageRejected("dead_host" if gateway else "proxy_failed", f"the proxy says: {error}")
    if isinstance(error, httpx.RemoteProtocolError) and "location header" in str(error):
        return PageRejected("bad_redirect", str(error))  # httpx parses it although it is told not to follow
    is_bad_url = isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError)
    outcome = (
        "timeout" if isinstance(error, httpx.TimeoutException) else "bad_url" if is_bad_url else "connection_error"
    )
    return PageRejected(outcome, f"{type(error).__name__}: {error}")


class RoutingTransport(httpx.BaseTransport):
    """Sends each request as the egress policy says: directly, or through the user's proxy."""

    def __init__(self, egress: EgressPolicy) -> None:
        self.thread = threading.local()  # its `deadline` is the one of this thread's request
        self._egress = egress
        proxies = {None, *egress.proxies.by_scheme.values()}
        self._transports = {proxy: self._open(proxy) for proxy in proxies}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        proxy = self._egress.proxy_for(url.scheme, url.raw_host.decode("ascii"), port)
        return self._transports[proxy].handle_request(request)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _open(self, proxy: UserProxy | None) -> httpx.HTTPTransport:
        transport = httpx.HTTPTransport()
        how: dict[str, Any] = {
            "ssl_context": httpx.create_ssl_context(),
            "max_connections": None,  # httpcore's own bound of 10 would let hosts wait for each other
            "max_keepalive_connections": 64,
            "keepalive_expiry": 15.0,
            "network_backend": GuardedBackend(self._egress, self.thread, proxy),
        }
        # httpcore takes a network backend here; httpx has no argument for it.
        if proxy is None:
            transport._pool = httpcore.ConnectionPool(**how)
        else:
            headers = [(b"Proxy-Authorization", proxy.authorization)] if proxy.authorization else []
            url = httpcore.URL(scheme="http", host=proxy.host, port=proxy.port, target="/")
            transport._pool = httpcore.HTTPProxy(url, proxy_headers=headers, **how)
        return transport


class GuardedStream(httpcore.NetworkStream):
    """A socket whose every operation ends at the deadline of the current request."""

    def __init__(self, stream: httpcore.NetworkStream, network: GuardedBackend) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.thread.deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.thread.deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._network.thread.deadline.left())
        return GuardedStream(stream, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the addresses that the egress policy has checked, never to a name; or to the user's proxy alone."""

    def __init__(self, egress: EgressPolicy, thread: threading.local, proxy: UserProxy | None = None) -> None:
        self.thread = thread
        self._egress = egress
        self._proxy = proxy
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        deadline: Deadline = self.thread.deadline
        for address in self._addresses(host, port, deadline.left()):
            try:
                seconds = min(CONNECT_SECONDS, deadline.left())
                stream = self._sockets.connect_tcp(address, port, seconds, local_address, socket_options)
                return GuardedStream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        if self._proxy:
            raise PageRejected("proxy_failed", f"{self._proxy}: {failure}")
        raise failure

    def _addresses(self, host: str, port: int, seconds: float) -> list[str]:
        if self._proxy:
            return self._egress.addresses_of_proxy(self._proxy, seconds)
        return self._egress.addresses(host, port, seconds)
