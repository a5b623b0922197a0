"""The site on a loopback port: what it answers, what it remembers, and how it grows."""

import contextlib
import errno
import hashlib
import json
import socket
import socketserver
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from tasks.demo_site import pages
from tasks.demo_site.articles import Article, all_articles

HOST = "127.0.0.1"
DEFAULT_PORT = 8765
NIGHT_SHARES = (0.6, 0.8, 1.0)
"""The share of all articles that is out on night 1, 2, 3; later nights show all."""

_PRIVATE = "Nobody should have come here: robots.txt asks every crawler to keep out of this reading room.\n\n"
_PRIVATE_PAGES = ("/private/", "/private/minutes.html")
_RELATED = 5


class PortTakenError(OSError):
    """Another program listens on the port; the message says what to do."""


class Request(NamedTuple):
    """One line of the access log."""

    method: str
    path: str
    user_agent: str
    status: int


@dataclass(frozen=True)
class Answer:
    """What the site says to a path, before a client's own conditions are looked at."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    modified: datetime | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """A strong one: the same bytes, the same tag, on every machine."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class DemoSite:
    """The running site; a context manager. It serves from the moment it is made until `close`.

    port: 0 takes a free one. log_path: a JSON line for each request is appended there. night: None shows all
    articles, 1, 2, 3 a growing share (`NIGHT_SHARES`). Raises `PortTakenError`.
    """

    def __init__(self, port: int = DEFAULT_PORT, log_path: Path | str | None = None, night: int | None = None) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._everything = all_articles()
        self._by_path = {article.path: place for place, article in enumerate(self._everything)}
        self._failures = {article.path: 1 for article in self._everything if article.variant == "flaky"}
        self._log_path = Path(log_path) if log_path else None
        if self._log_path:
            self._log_path.touch()  # a path that cannot be written is said now, not at the first request
        self._count = 0
        self._indexes: dict[str, str] = {}
        self.publish_night(night)
        self._server = _listen(self, port)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="demo-site", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, hang up on every client and free the port; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def articles(self) -> tuple[Article, ...]:
        """What is published now, in the site's order."""
        return self._everything[: self._count]

    @property
    def requests(self) -> list[Request]:
        """Everything asked so far, oldest first (a copy)."""
        with self._lock:
            return list(self._requests)

    def publish(self, count: int) -> None:
        """Show the first `count` articles of the site's order and no others, from now on."""
        shown = self._everything[: max(0, count)]
        self._indexes, self._count = pages.index_pages(list(shown)), len(shown)

    def publish_night(self, night: int | None) -> None:
        """Show what is out on this night: 1 is the first, None is after the last."""
        if night is not None and night < 1:
            raise ValueError(f"night is {night}: it must be 1 or more (or None for the whole site)")
        share = 1.0 if night is None else NIGHT_SHARES[min(night, len(NIGHT_SHARES)) - 1]
        self.publish(round(len(self._everything) * share))

    def fail_next(self, path: str, times: int = 1) -> None:
        """Answer 503 to the next `times` requests for `path`, whatever it is."""
        with self._lock:
            self._failures[path] = times

    def answer(self, path: str) -> Answer:
        """What the site says to a GET of `path` (without its query)."""
        if self._fails(path):
            page = pages.plain_page("Too busy", "The site is too busy just now. Please ask again soon.")
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, page.encode(), headers={"Retry-After": "1"})
        if path in self._indexes:
            return Answer(HTTPStatus.OK, self._indexes[path].encode())
        if self._by_path.get(path, self._count) < self._count:
            return self._article(self._by_path[path])
        return self._special(path)

    def record(self, request: Request) -> None:
        """Remember a request, and write its line to the access log."""
        with self._lock:
            self._requests.append(request)
            if self._log_path:
                moment = datetime.now(UTC).isoformat(timespec="milliseconds")
                with self._log_path.open("a", encoding="utf-8") as log:
                    log.write(json.dumps({"time": moment, **request._asdict()}) + "\n")

    def _fails(self, path: str) -> bool:
        with self._lock:
            left = self._failures.get(path, 0)
            if left:
                self._failures[path] = left - 1
            return left > 0

    def _article(self, place: int) -> Answer:
        article = self._everything[place]
        if article.variant == "empty":
            return Answer(HTTPStatus.OK, modified=article.published)
        # Only earlier articles are related: they are out whenever this one is, so the page never changes.
        text = pages.article_page(article, list(self._everything[max(0, place - _RELATED) : place]))
        if article.variant == "latin1":
            body = text.encode("iso-8859-1", "xmlcharrefreplace")
            return Answer(HTTPStatus.OK, body, "text/html; charset=ISO-8859-1", article.published)
        return Answer(HTTPStatus.OK, text.encode(), modified=article.published)

    def _special(self, path: str) -> Answer:
        if path == "/robots.txt":
            return Answer(HTTPStatus.OK, pages.ROBOTS.encode(), "text/plain; charset=utf-8")
        if path == "/files/handbook.pdf":
            return Answer(HTTPStatus.OK, pages.pdf("The reader's handbook."), "application/pdf")
        if path == "/old/knives.html":
            to = {"Location": "/notes/how-to-sharpen-a-kitchen-knife"}
            return Answer(HTTPStatus.MOVED_PERMANENTLY, headers=to)
        if path in _PRIVATE_PAGES:
            page = pages.plain_page("The members' reading room", _PRIVATE * 12)
            return Answer(HTTPStatus.OK, page.encode())
        if path.startswith("/api/") and path.endswith(".json"):
            place = self._by_path.get(f"/notes/{path[5:-5]}", self._count)
            if place < self._count:
                text = pages.article_json(self._everything[place])
                return Answer(HTTPStatus.OK, text.encode(), "application/json")
        missing = "There is no such page here, or not any more."
        return Answer(HTTPStatus.NOT_FOUND, pages.plain_page("Not found", missing).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, site: DemoSite, port: int) -> None:
        self.site = site
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Without http.server's look-up of the host's name, which can hang where there is no network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def get_request(self) -> tuple[socket.socket, object]:
        """Keep the connection in mind, for `server_close`."""
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """The end of one connection."""
        self._open.discard(cast(socket.socket, request))
        super().shutdown_request(request)

    def server_close(self) -> None:
        """A closed site is dead also for clients that hold a kept-alive connection."""
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "LanternLibrary/1.0"
    sys_version = ""
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        """Every page of the site."""
        site = cast(_Server, self.server).site
        answer = site.answer(self.path.partition("?")[0])
        known = answer.status is HTTPStatus.OK and self._knows(answer)
        self.send_response(HTTPStatus.NOT_MODIFIED if known else answer.status)
        if answer.status is HTTPStatus.OK:
            self.send_header("ETag", answer.etag)
            self.send_header("Cache-Control", "no-cache")
            if answer.modified:
                self.send_header("Last-Modified", format_datetime(answer.modified, usegmt=True))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not known:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD" and not known:
            self.wfile.write(answer.body)

    def do_HEAD(self) -> None:
        """The head of what GET would answer."""
        self.do_GET()

    def _knows(self, answer: Answer) -> bool:
        """Whether the client has these bytes already (RFC 9110: If-None-Match beats If-Modified-Since)."""
        if tags := self.headers.get("If-None-Match"):
            known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
            return not known.isdisjoint({answer.etag, "*"})
        try:
            since = parsedate_to_datetime(self.headers.get("If-Modified-Since", ""))
        except ValueError:
            return False
        return answer.modified is not None and answer.modified <= since.replace(tzinfo=UTC)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """http.server calls this for every answer, its own error pages too."""
        agent = self.headers.get("User-Agent", "") if hasattr(self, "headers") else ""
        request = Request(self.command or "", getattr(self, "path", ""), agent, int(code))
        cast(_Server, self.server).site.record(request)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error: the access log says it."""


def _listen(site: DemoSite, port: int) -> _Server:
    try:
        return _Server(site, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTakenError(
            errno.EADDRINUSE,
            f"port {port} on {HOST} is taken by another program: stop that program, or choose another port"
            f" (run.py --set demo.port=N, python -m tasks.demo_site --port N)",
        ) from error
