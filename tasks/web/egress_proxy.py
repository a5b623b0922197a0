"""The only way out for a browser: an HTTP proxy on loopback, in threads of our own process, that asks the gate.

Chromium resolves names and follows redirects, frames and scripts by itself, so its pages could reach what the gate
keeps closed. Given this proxy for everything (`FLAGS`), it resolves nothing and connects to nothing else: TLS and
WebSockets come as CONNECT and are passed on as they are, plain HTTP is forwarded, one exchange a connection.

Nothing passes but during a visit, which has a deadline and a bound of bytes over all its connections.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tasks.contracts.outcomes import PageRejected
from tasks.web.egress import EgressPolicy

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 100  # Chromium asks a proxy for 32 at a time, and as many WebSockets again
MAX_HEAD = 262_144  # bytes of a request's or answer's head; Chromium's own bound
CHUNK = 65536
LINE = re.compile(rb"\r?\n")  # a bare line feed too, as browsers have it
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
# Headers that concern one connection (RFC 9110, 7.6.1), and what would keep it open.
HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate"),
    *(b"te", b"trailer", b"upgrade"),
}


def flags(url: str) -> tuple[str, ...]:
    """Command line of a Chromium whose every connection goes through the proxy at `url`, or fails."""
    return (
        f"--proxy-server={url}",
        "--proxy-bypass-list=<-loopback>",  # by default this machine is asked without the proxy
        # Whatever would resolve a name by itself (prefetching, WebRTC) finds that there is none.
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-quic",
        "--dns-prefetch-disable",
    )


class PageBudget:
    """What one page may still load, and what it was refused."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self.ends = time.monotonic() + seconds
        self.bytes_left = max_bytes
        self.exceeded = False
        self.refused: dict[str, PageRejected] = {}  # by `host:port`
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def left(self) -> float:
        """Seconds. Raises TimeoutError when there are none."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def spend(self, size: int) -> None:
        """Count bytes that came in; cuts everything at the bound."""
        with self._lock:
            self.bytes_left -= size
            self.exceeded = self.exceeded or self.bytes_left < 0
        if self.exceeded:
            self.close()

    def hold(self, one: socket.socket) -> None:
        """Remember a socket, to be cut with the others. Raises OSError when the visit is over."""
        with self._lock:
            if not self._open or len(self._sockets) >= 2 * MAX_CONNECTIONS:
                raise OSError("no further connections")
            self._sockets.add(one)

    def drop(self, one: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(one)
        one.close()

    def close(self) -> None:
        """Nothing passes any more. The threads that own the sockets close them."""
        with self._lock:
            self._open = False
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class Proxy:
    """`with Proxy(gate) as proxy:` listens; `with proxy.visit(seconds, max_bytes):` lets through."""

    def __init__(self, gate: EgressPolicy) -> None:
        self._gate = gate
        self._visit: PageBudget | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=MAX_CONNECTIONS)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @contextmanager
    def visit(self, seconds: float, max_bytes: int) -> Iterator[PageBudget]:
        """One at a time. At the end all that is still open is cut."""
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
                threading.Thread(target=self._serve, args=(client, visit), daemon=True, name="proxied").start()

    def _serve(self, client: socket.socket, visit: PageBudget) -> None:
        """One client connection: a tunnel, or one plain exchange."""
        try:
            visit.hold(client)
            head, rest = _read_head(client, visit)
            method, target = _request_line(head)
            host, port = _authority(method, target)
            try:
                server = self._gate.connect(host, port, min(CONNECT_SECONDS, visit.left()))
            except PageRejected as refused:
                visit.refused[f"{host}:{port}"] = refused
                return  # without a word: the page learns no more than from a host that is down
            try:
                visit.hold(server)
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    server.sendall(rest)
                    _tunnel(client, server, visit)
                else:
                    _forward(head, rest, client, server, visit)
            finally:
                visit.drop(server)
        except (OSError, PageRejected):  # TimeoutError among them
            pass
        finally:
            visit.drop(client)


def _tunnel(client: socket.socket, server: socket.socket, visit: PageBudget) -> None:
    """Both directions at once, each in a thread: one that is slow to read does not stop the other."""
    upwards = threading.Thread(target=_copy, args=(client, server, visit), daemon=True, name="proxied-up")
    upwards.start()
    _copy(server, client, visit)
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)  # wakes it
    upwards.join()


def _copy(source: socket.socket, sink: socket.socket, visit: PageBudget, size: int | None = None) -> None:
    """Until the source ends, or `size` bytes have passed."""
    left = size
    with suppress(OSError):
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


def _forward(head: bytes, rest: bytes, client: socket.socket, server: socket.socket, visit: PageBudget) -> None:
    """One request and its answer; then the connection ends, so that no second request can go to the wrong host."""
    method, target = _request_line(head)
    size = _announced(head) or 0
    parts = urlsplit(target.decode("ascii"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    line = b"%s %s HTTP/1.1" % (method, path.encode("ascii"))
    server.settimeout(visit.left())
    server.sendall(_with_headers(line, head) + rest[:size])
    sender = threading.Thread(
        target=_copy, args=(client, server, visit, size - len(rest[:size])), daemon=True, name="proxied-up"
    )
    sender.start()
    answer, body = _read_head(server, visit)
    while _status(answer).startswith(b"1"):  # 100, 103: another one follows
        answer, body = _read_head(server, visit, body)
    bodiless = method == b"HEAD" or _status(answer) in (b"204", b"304")
    length = 0 if bodiless else _announced(answer)
    client.settimeout(visit.left())
    client.sendall(_with_headers(LINE.split(answer, maxsplit=1)[0], answer) + body[:length])
    _copy(server, client, visit, None if length is None else length - len(body[:length]))
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
    sender.join()


def _read_head(source: socket.socket, visit: PageBudget, begun: bytes = b"") -> tuple[bytes, bytes]:
    """A head without its empty line, and what came after it. Raises OSError or Refused."""
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
    """Where a request goes. Raises Refused for what is neither CONNECT nor plain http."""
    try:
        text = target.decode("ascii")
        parts = urlsplit(f"//{text}" if method == b"CONNECT" else text)
        port = parts.port if method == b"CONNECT" else parts.port or 80
        if parts.hostname and port and (method == b"CONNECT" or parts.scheme == "http"):
            return parts.hostname, port
    except ValueError:
        pass
    raise PageRejected("bad_url", f"{target[:100]!r}")


def _status(answer: bytes) -> bytes:
    return [*answer.split(None, 2), b"", b""][1]


def _announced(head: bytes) -> int | None:
    """How long a body will be. Browsers always say it; the few requests of unknown length need HTTP/2."""
    fields = [
        (name.strip().lower(), value.strip()) for name, _, value in (one.partition(b":") for one in LINE.split(head))
    ]
    chunked = any(name == b"transfer-encoding" for name, _ in fields)
    if chunked and not head.startswith(b"HTTP/"):
        raise PageRejected("bad_url", "a request body of unknown length")
    lengths = {value for name, value in fields if name == b"content-length"}
    if chunked or not lengths:
        return None
    if len(lengths) > 1 or not (length := lengths.pop()).isdigit():
        raise PageRejected("connection_error", "a body of unclear length")
    return int(length)


def _with_headers(line: bytes, head: bytes) -> bytes:
    """A head for the next connection: another first line, and word that it ends after this exchange."""
    lines = LINE.split(head)[1:]
    kept = [one for one in lines if one.partition(b":")[0].strip().lower() not in HOP_BY_HOP]
    return b"\r\n".join([line, *kept, b"Connection: close", b"", b""])
