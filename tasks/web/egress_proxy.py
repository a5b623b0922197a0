"""The only way out for a browser: an HTTP proxy on loopback, in threads of our own process, with an egress policy.

Chromium resolves names and follows redirects, frames and scripts by itself, so its pages could reach forbidden
addresses. With this proxy for everything (`flags`), it resolves nothing and connects to nothing else: TLS and
WebSockets come as CONNECT and pass unchanged, plain HTTP is forwarded, one request for each connection.

Where the user has a proxy for a host, it is asked in turn: by CONNECT for a tunnel, with the whole address otherwise.

The proxy passes data only during a visit, which has a deadline and a byte limit over all its connections.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import urlsplit

from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy
from tasks.web.http_client import CHUNK, CONNECT_SECONDS, Deadline
from tasks.web.user_proxy import UserProxy

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 100  # Chromium asks a proxy for 32 at a time, and as many WebSockets again
MAX_DIGITS = 18  # of a length in bytes
MAX_HEAD = 262_144  # bytes of the head of a request or response; Chromium's own limit
LINE = re.compile(rb"\r?\n")  # a bare line feed too, as browsers have it
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
# Headers for one connection only (RFC 9110, 7.6.1), and those that would keep it open.
HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate"),
    *(b"te", b"trailer", b"upgrade"),
}


def flags(url: str) -> tuple[str, ...]:
    """Returns Chromium's command line options that send every connection through the proxy at `url`, or let it fail."""
    return (
        f"--proxy-server={url}",
        "--proxy-bypass-list=<-loopback>",  # by default, loopback addresses bypass the proxy
        # Whatever resolves names by itself (prefetching, WebRTC) gets "not found".
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-quic",
        "--dns-prefetch-disable",
    )


class PageBudget(Deadline):
    """How long and how much one page may still load, and which hosts it was denied."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        super().__init__(seconds)
        self.bytes_left = max_bytes
        self.exceeded = False
        self.denied: dict[str, PageRejected] = {}  # by `host:port`
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def spend(self, size: int) -> None:
        """Counts received bytes; closes all connections at the limit."""
        with self._lock:
            self.bytes_left -= size
            self.exceeded = self.exceeded or self.bytes_left < 0
        if self.exceeded:
            self.close()

    def hold(self, one: socket.socket) -> None:
        """Registers a socket, so that `close` shuts it down. Raises OSError when the visit is over."""
        with self._lock:
            if not self._open or len(self._sockets) >= 2 * MAX_CONNECTIONS:
                raise OSError("no further connections")
            self._sockets.add(one)

    def drop(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(one)
        one.close()

    def close(self) -> None:
        """Shuts all sockets down. The threads that own them close them."""
        with self._lock:
            self._open = False
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Listens from the start until `close`; passes data on within `with proxy.visit(seconds, max_bytes):`."""

    def __init__(self, egress: EgressPolicy) -> None:
        self._egress = egress
        self._visit: PageBudget | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=MAX_CONNECTIONS)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True, name="proxy").start()

    def close(self) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextmanager
    def visit(self, seconds: float, max_bytes: int) -> Iterator[PageBudget]:
        """Lets one page load. At the end, all connections that are still open are shut down."""
        visit = self._visit = PageBudget(seconds, max_bytes)
        try:
            yield visit
        finally:
            self._visit = None
            visit.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            visit = self._visit
            if visit is None:
                client.close()
            else:
                Thread(target=self._serve, args=(client, visit), daemon=True, name="proxied").start()

    def _serve(self, client: socket.socket, visit: PageBudget) -> None:
        """Serves one client connection: a tunnel, or one plain HTTP request."""
        try:
            visit.hold(client)
            head, rest = _read_head(client, visit)
            method, target = _request_line(head)
            host, port = _authority(method, target)
            try:
                server, upstream, received = self._open(method, host, port, visit)
            except PageRejected as rejected:
                visit.denied[f"{host}:{port}"] = rejected
                return  # without an answer: the page learns no more than from a host that is down
            try:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + received)
                    server.sendall(rest)
                    _tunnel(client, server, visit)
                else:
                    _forward(head, rest, client, server, visit, upstream)
            finally:
                visit.drop(server)
        except (OSError, PageRejected):
            pass
        except Exception:  # nobody waits for this thread: to the page, the host is down
            log.info("A request of Chromium's ended unforeseen.", exc_info=True)
        finally:
            visit.drop(client)

    def _open(
        self, method: bytes, host: str, port: int, visit: PageBudget
    ) -> tuple[socket.socket, UserProxy | None, bytes]:
        """Returns a connection to a host, or the user's proxy for it, and what came already through its tunnel."""
        seconds = min(CONNECT_SECONDS, visit.left())
        is_tunnel = method == b"CONNECT"
        # A tunnel to port 80 is a WebSocket without TLS.
        upstream = self._egress.proxy_for("https" if is_tunnel and port != 80 else "http", host, port)
        if upstream is None:
            server = self._egress.connect(host, port, seconds)
        else:
            server = self._egress.connect_to_proxy(upstream, seconds)
        try:
            visit.hold(server)
            received = _ask_for_tunnel(server, host, port, upstream, visit) if is_tunnel and upstream else b""
        except BaseException:
            visit.drop(server)
            raise
        return server, upstream, received


def _ask_for_tunnel(server: socket.socket, host: str, port: int, upstream: UserProxy, visit: PageBudget) -> bytes:
    """Asks the user's proxy for a tunnel. Returns what follows its answer. Raises `PageRejected("proxy_failed")`."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server.settimeout(visit.left())
    server.sendall(_with_credentials(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode("ascii"), upstream))
    answer, received = _read_head(server, visit)
    if not _status(answer).startswith(b"2"):
        said = LINE.split(answer, maxsplit=1)[0].decode("latin-1")
        raise PageRejected("proxy_failed", f"{upstream} says: {said[:100]}")
    return received


def _with_credentials(head: bytes, upstream: UserProxy) -> bytes:
    """Returns a head with its empty line, and the user's name and password for their proxy in it."""
    if not upstream.authorization:
        return head
    return head[:-2] + b"Proxy-Authorization: " + upstream.authorization + b"\r\n\r\n"


def _tunnel(client: socket.socket, server: socket.socket, visit: PageBudget) -> None:
    """Copies both directions at once, each in a thread, so that a slow reader does not stop the other direction."""
    sender = _start_copy(client, server, visit)
    _copy(server, client, visit)
    _join(sender, client)


def _start_copy(client: socket.socket, server: socket.socket, visit: PageBudget, size: int | None = None) -> Thread:
    sender = Thread(target=_copy, args=(client, server, visit, size), daemon=True, name="proxied-up")
    sender.start()
    return sender


def _join(sender: Thread, client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    sender.join()


def _copy(source: socket.socket, sink: socket.socket, visit: PageBudget, size: int | None = None) -> None:
    """Copies until the source ends, or `size` bytes have passed."""
    left = size
    with suppress(OSError, PageRejected):  # the latter at the deadline
        while left is None or left > 0:
            source.settimeout(visit.left())
            piece = source.recv(CHUNK if left is None else min(CHUNK, left))
            if not piece:
                break
            visit.spend(len(piece))
            left = None if left is None else left - len(piece)
            sink.settimeout(visit.left())
            sink.sendall(piece)
    if left is None:
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _forward(
    head: bytes,
    rest: bytes,
    client: socket.socket,
    server: socket.socket,
    visit: PageBudget,
    upstream: UserProxy | None,
) -> None:
    """Forwards one request and its response, then ends the connection: no second request can go to the wrong host."""
    method, target = _request_line(head)
    size = _body_length(head) or 0
    parts = urlsplit(target.decode("ascii"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    line = b"%s %s HTTP/1.1" % (method, target if upstream else path.encode("ascii"))
    request = _with_headers(line, head)
    server.settimeout(visit.left())
    server.sendall((_with_credentials(request, upstream) if upstream else request) + rest[:size])
    sender = _start_copy(client, server, visit, size - len(rest[:size]))
    response, body = _read_head(server, visit)
    while _status(response).startswith(b"1"):  # 100, 103: another head follows
        response, body = _read_head(server, visit, body)
    has_no_body = method == b"HEAD" or _status(response) in (b"204", b"304")
    length = 0 if has_no_body else _body_length(response)
    client.settimeout(visit.left())
    client.sendall(_with_headers(LINE.split(response, maxsplit=1)[0], response) + body[:length])
    _copy(server, client, visit, None if length is None else length - len(body[:length]))
    _join(sender, client)


def _read_head(source: socket.socket, visit: PageBudget, begun: bytes = b"") -> tuple[bytes, bytes]:
    """Returns a head without its empty line, and the bytes after it. Raises OSError or PageRejected."""
    content = bytearray(begun)
    while (end := END_OF_HEAD.search(content)) is None:
        if len(content) > MAX_HEAD:
            raise PageRejected("connection_error", f"a head of more than {MAX_HEAD} bytes")
        source.settimeout(visit.left())
        piece = source.recv(CHUNK)
        if not piece:
            raise PageRejected("connection_error", "the connection ended within a head")
        visit.spend(len(piece))
        content += piece
    return bytes(content[: end.start()]), bytes(content[end.end() :])


def _request_line(head: bytes) -> tuple[bytes, bytes]:
    words = LINE.split(head, maxsplit=1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise PageRejected("bad_url", "no HTTP/1 request")
    return words[0], words[1]


def _authority(method: bytes, target: bytes) -> tuple[str, int]:
    """Returns host and port of a request. Raises PageRejected for what is neither CONNECT nor plain http."""
    try:
        text = target.decode("ascii")
        parts = urlsplit(f"//{text}" if method == b"CONNECT" else text)
        port = parts.port if method == b"CONNECT" else parts.port or 80
        if parts.hostname and port and (method == b"CONNECT" or parts.scheme == "http"):
            return parts.hostname, port
    except ValueError:
        pass
    raise PageRejected("bad_url", f"{target[:100]!r}")


def _status(response: bytes) -> bytes:
    return [*response.split(None, 2), b"", b""][1]


def _body_length(head: bytes) -> int | None:
    """Returns the length of a body; None where it ends with the connection. Requests without a length need HTTP/2."""
    fields = [
        (name.strip().lower(), value.strip()) for name, _, value in (one.partition(b":") for one in LINE.split(head))
    ]
    chunked = any(name == b"transfer-encoding" for name, _ in fields)
    if chunked and not head.startswith(b"HTTP/"):
        raise PageRejected("bad_url", "a request body of unknown length")
    lengths = {value for name, value in fields if name == b"content-length"}
    if chunked or not lengths:
        return None
    if len(lengths) > 1 or not (length := lengths.pop()).isdigit() or len(length) > MAX_DIGITS:
        raise PageRejected("connection_error", "a body of unclear length")
    return int(length)


def _with_headers(line: bytes, head: bytes) -> bytes:
    """Returns a head for the next connection: with another first line, and closing it after this request."""
    lines = LINE.split(head)[1:]
    kept = [one for one in lines if one.partition(b":")[0].strip().lower() not in HOP_BY_HOP]
    return b"\r\n".join([line, *kept, b"Connection: close", b"", b""])
