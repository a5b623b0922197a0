"""The site on a loopback port: what it answers, what it logs, and how it grows."""

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
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, cast

from tasks.demo_site import pages
from tasks.demo_site.articles import Article, all_articles

HOST = "127.0.0.1"
DEFAULT_PORT = 8765
NIGHT_SHARES = (0.6, 0.8, 1.0)
"""The share of all articles that the site shows on night 1, 2, 3; on later nights it shows all."""

_STATIC = Path(__file__).with_name("static")
_PRIVATE = "Nobody should have come here: robots.txt asks every crawler to keep out of this reading room.\n\n"
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
    """What the site answers for a path, before it looks at the client's own conditions."""

    status: HTTPStatus = HTTPStatus.OK
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    modified: datetime | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """A strong one: equal bytes have an equal tag, on every machine."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class DemoSite(contextlib.AbstractContextManager["DemoSite"]):
    """The running site. It serves from the moment it is made until `close`.

    port: 0 takes a free one. log_path: the file that gets a JSON line for each request. night: None shows all
    articles; 1, 2, 3 show a growing share (`NIGHT_SHARES`). novels: a file whose chapters are pages too. Raises
    `PortTakenError` and `NovelsError`.
    """

    def __init__(
        self,
        port: int = DEFAULT_PORT,
        log_path: Path | str | None = None,
        night: int | None = None,
        novels: Path | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._everything = all_articles(novels)
        self._by_path = {article.path: place for place, article in enumerate(self._everything)}
        self._failures = {article.path: 1 for article in self._everything if article.variant == "flaky"}
        self._log_path = Path(log_path) if log_path else None
        if self._log_path:
            self._log_path.touch()  # fails now where the path cannot be written, not at the first request
        self._count = 0
        self._indexes: dict[str, str] = {}
        self.publish_night(night)
        self._server = _listen(self, port)
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="demo-site", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops, ends every connection and frees the port; a second call does nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def articles(self) -> tuple[Article, ...]:
        """Returns what is published now, in the site's order."""
        return self._everything[: self._count]

    @property
    def requests(self) -> list[Request]:
        """Returns a copy of all requests so far, oldest first."""
        with self._lock:
            return list(self._requests)

    def publish(self, count: int) -> None:
        """Shows only the first `count` articles of the site's order from now on."""
        shown = self._everything[: max(0, count)]
        self._indexes, self._count = pages.index_pages(list(shown)), len(shown)

    def publish_night(self, night: int | None) -> None:
        """Shows what is published on this night: 1 is the first, None is after the last."""
        if night is not None and night < 1:
            raise ValueError(f"night is {night}: it must be 1 or more (or None for the whole site)")
        share = 1.0 if night is None else NIGHT_SHARES[min(night, len(NIGHT_SHARES)) - 1]
        self.publish(round(len(self._everything) * share))

    def fail_next(self, path: str, times: int = 1) -> None:
        """Answers 503 to the next `times` requests for `path`, whatever it is."""
        with self._lock:
            self._failures[path] = times

    def answer(self, path: str) -> Answer:
        """Returns the answer to a GET of `path` (without its query)."""
        if self._fails(path):
            text = "The site is too busy just now. Please ask again soon."
            return _page("Too busy", text, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
        if path in self._indexes:
            return Answer(body=self._indexes[path].encode())
        if article := self._published(path):
            return self._article(article)
        if path.startswith("/api/") and path.endswith(".json") and (article := self._published(f"/notes/{path[5:-5]}")):
            return Answer(body=pages.article_json(article).encode(), content_type="application/json")
        missing = "There is no such page here, or not any more."
        return _fixed_answers().get(path) or _page("Not found", missing, HTTPStatus.NOT_FOUND)

    def record(self, request: Request) -> None:
        """Stores a request and appends its line to the access log."""
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

    def _published(self, path: str) -> Article | None:
        place = self._by_path.get(path, self._count)
        return self._everything[place] if place < self._count else None

    def _article(self, article: Article) -> Answer:
        if article.variant == "empty":
            return Answer(modified=article.published)
        # Only earlier articles are related: the site shows them whenever it shows this one, so the page never changes.
        place = self._by_path[article.path]
        text = pages.article_page(article, list(self._everything[max(0, place - _RELATED) : place]))
        if article.variant == "latin1":
            body, content_type = text.encode("iso-8859-1", "xmlcharrefreplace"), "text/html; charset=ISO-8859-1"
            return Answer(body=body, content_type=content_type, modified=article.published)
        return Answer(body=text.encode(), modified=article.published)


def _page(title: str, text: str, status: HTTPStatus, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, pages.plain_page(title, text).encode(), headers=headers or {})


@cache
def _fixed_answers() -> dict[str, Answer]:
    """Returns what is neither an article nor a list of articles, by its path."""
    private = _page("The members' reading room", _PRIVATE * 12, HTTPStatus.OK)
    knives = {"Location": "/notes/how-to-sharpen-a-kitchen-knife"}
    return {
        "/robots.txt": Answer(body=(_STATIC / "robots.txt").read_bytes(), content_type="text/plain; charset=utf-8"),
        "/files/handbook.pdf": Answer(body=(_STATIC / "handbook.pdf").read_bytes(), content_type="application/pdf"),
        "/old/knives.html": Answer(HTTPStatus.MOVED_PERMANENTLY, headers=knives),
        "/private/": private,
        "/private/minutes.html": private,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, site: DemoSite, port: int) -> None:
        self.site = site
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        """Leaves out http.server's look-up of the host's name, which can hang where there is no network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def get_request(self) -> tuple[socket.socket, object]:
        """Notes the connection, for `server_close`."""
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Ends one connection."""
        self._open.discard(cast(socket.socket, request))
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Also ends kept-alive connections: a closed site answers nobody."""
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "LanternLibrary/1.0"
    sys_version = ""
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    timeout = 60

    def do_GET(self) -> None:
        """Answers for every page of the site; HEAD leaves out the body."""
        answer = self.server.site.answer(self.path.partition("?")[0])
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

    do_HEAD = do_GET

    def _knows(self, answer: Answer) -> bool:
        """Returns whether the client already has these bytes (RFC 9110: If-None-Match beats If-Modified-Since)."""
        if tags := self.headers.get("If-None-Match"):
            known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
            return not known.isdisjoint({answer.etag, "*"})
        try:
            since = parsedate_to_datetime(self.headers.get("If-Modified-Since", ""))
        except ValueError:
            return False
        return answer.modified is not None and answer.modified <= since.replace(tzinfo=UTC)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """http.server calls this for every answer, also for its own error pages."""
        agent = self.headers.get("User-Agent", "") if hasattr(self, "headers") else ""
        request = Request(self.command or "", getattr(self, "path", ""), agent, int(code))
        self.server.site.record(request)

    def log_message(self, format: str, *args: object) -> None:
        """Writes nothing to standard error: the access log has it."""


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
