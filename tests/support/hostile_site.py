"""A web of hosts on this machine that do all that hosts do wrong, among good neighbours; each host has one behaviour.

`BEHAVIOURS` is the list, each with the outcome that its URL must have; `docs/hostile_site.md` is written from it.
"""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.support.loopback import PARAGRAPH, Answer, Handler, article, send
from tests.support.tls import wrapped

SECONDS = 6  # render.timeout_seconds of the run
GOOD_HOSTS, GOOD_PAGES = 4, 5
Play = Callable[[Handler], Answer | None]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a host does, and how our visit must end."""

    name: str
    does: str
    outcome: str
    play: Play
    robots: bytes = b""


def page(inside: str, *, text: int = 0) -> bytes:
    return f"<html><head><title>Page</title></head><body>{PARAGRAPH * text}{inside}</body></html>".encode()


def by_script(script: str) -> Play:
    """A page whose article a script brings, and which does something else besides."""
    brings = (
        "const text = document.createElement('article');"
        f"const lines = [1, 2, 3, 4, 5, 6].map((number) => '<p>' + number + '. {PARAGRAPH}</p>');"
        "text.innerHTML = '<h1>Made by a script</h1>' + lines.join('');"
        "document.getElementById('root').appendChild(text);"
    )
    return answers(page(f"<div id=root></div><script>{brings}{script}</script>"))


def only_script(script: str) -> Play:
    """A page without any text but for what the script would bring, if it ended."""
    return answers(page(f"<div id=root></div><script>{script}</script>"))


def answers(body: bytes = b"", status: int = 200, **headers: str) -> Play:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (status, named, body)


def bad_status(status: int, **headers: str) -> Play:
    return answers(article("An error that looks like an article"), status, **headers)


def endless(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "1000000000000", "Content-Type": "text/html"}, b"<html><body>")
    for _ in range(1_000_000):
        handler.wfile.write(b"<p>and so on" * 5000)


def drip(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "1000"}, b"")
    for _ in range(60):
        handler.wfile.write(b"x")
        time.sleep(1)


def drip_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(120):
        handler.wfile.write(b"h")
        time.sleep(0.5)


def silent(handler: Handler) -> None:
    handler.rfile.read(1)  # until the other side goes


def reset(handler: Handler) -> None:
    """The connection is not closed but broken off, in the middle of the body."""
    send(handler, 200, {"Content-Length": "100000"}, b"<html><body>half of it")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def short_body(handler: Handler) -> None:
    send(handler, 200, {"Content-Length": "100000"}, b"<html><body>half of it")
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP ready\r\n")
    handler.close_connection = True


def cookie_wall(handler: Handler) -> Answer:
    """First to the consent page, which sets a cookie and sends back."""
    if handler.path.startswith("/consent"):
        return 302, {"Location": handler.path.partition("?")[2], "Set-Cookie": "consent=yes; Path=/"}, b""
    if "consent=yes" in (handler.headers.get("Cookie") or ""):
        return 200, {}, article("Behind the cookie wall")
    return 302, {"Location": f"/consent?{handler.path}"}, b""


def failing_once() -> Play:
    left = [True]

    def play(_: Handler) -> Answer:
        return (500, {}, b"") if left and left.pop() else (200, {}, article("Fine the second time"))

    return play


def redirect(target: str, status: int = 302) -> Play:
    return lambda handler: (status, {"Location": target.format(me=handler.headers["Host"])}, b"")


def rotating_redirect(handler: Handler) -> Answer:
    number = handler.path.removeprefix("/on/")
    return 302, {"Location": f"/on/{int(number) + 1 if number.isdigit() else 1}"}, b""


def meta_refresh(handler: Handler) -> Answer:
    if handler.path == "/arrived":
        return 200, {}, article("Where the refresh leads")
    return 200, {}, page("<meta http-equiv=refresh content='0; url=/arrived'>Moved.")


def downloads(handler: Handler) -> Answer:
    if handler.path == "/evil.bin":
        return 200, {"Content-Disposition": "attachment; filename=evil.bin"}, b"\x7fELF" + b"x" * 100_000
    save = "for (let n = 0; n < 5; n++) { const a = document.createElement('a'); a.href = '/evil.bin'; a.click(); }"
    found = by_script(save + "location = '/evil.bin';")(handler)
    assert found is not None
    return found


def tls(_: Handler) -> Answer:
    raise AssertionError("a client that goes on after this certificate checks none")


CYRILLIC = "Прилив уходит из гавани дважды в день, и лодки ложатся на ил, как усталые псы, ожидая воды. "
RUSSIAN = (
    f"<html><head><title>Гавань</title></head><body><article>{'<p>' + CYRILLIC * 4 + '</p>'}</article></body></html>"
)
TEXT = article("Something else")
LONG = gzip.compress(article("Cut", paragraphs=400))
BOMB = gzip.compress(b"<p>" + b"\0" * 100_000_000, 9)

BEHAVIOURS = (
    Behaviour("endless-body", "sends a body that never ends, as fast as it can", "too_large", endless),
    Behaviour("one-byte-a-second", "sends one byte of the body a second", "timeout", drip),
    Behaviour("slow-header", "sends its header byte by byte", "timeout", drip_header),
    Behaviour("silent", "takes the request and says nothing", "timeout", silent),
    Behaviour("50-megabytes", "sends 50 MB of HTML", "too_large", answers(b"<p>large</p>" * 4_200_000)),
    Behaviour("gzip-bomb", "100 kB of gzip that become 100 MB", "too_large", answers(BOMB, Content_Encoding="gzip")),
    Behaviour("no-gzip", "says gzip and sends plain HTML", "stored", answers(TEXT, Content_Encoding="gzip")),
    Behaviour(
        "bad-gzip",
        "sends gzip that is damaged",
        "bad_encoding",
        answers(b"\x1f\x8b\x08" + TEXT, Content_Encoding="gzip"),
    ),
    Behaviour(
        "cut-gzip",
        "sends the first half of its gzip",
        "stored",
        answers(LONG[: len(LONG) // 2], Content_Encoding="gzip"),
    ),
    Behaviour("brotli", "compresses as nobody asked it to", "bad_encoding", answers(b"x", Content_Encoding="br")),
    Behaviour("redirect-loop", "redirects to itself", "redirect_loop", redirect("http://{me}/redirect-loop")),
    Behaviour("redirects-on", "redirects to ever new addresses", "redirect_loop", rotating_redirect),
    Behaviour("redirect-nowhere", "redirects without an address", "bad_redirect", redirect("")),
    Behaviour("redirect-to-file", "redirects to file:///etc/passwd", "bad_redirect", redirect("file:///etc/passwd")),
    Behaviour(
        "to-metadata", "redirects to 169.254.169.254", "forbidden_address", redirect("http://169.254.169.254/latest/")
    ),
    Behaviour(
        "to-mapped-loopback",
        "redirects to [::ffff:127.0.0.1]",
        "forbidden_address",
        redirect("http://[::ffff:127.0.0.1]/"),
    ),
    Behaviour(
        "to-port-22", "redirects to a port that is no web server's", "forbidden_address", redirect("http://1.1.1.1:22/")
    ),
    Behaviour("alert-loop", "alerts without end", "timeout", only_script("while (true) alert('hello')")),
    Behaviour("one-alert", "alerts once, and has an article", "stored", by_script("alert('hello')")),
    Behaviour(
        "beforeunload",
        "does not want to be left",
        "stored",
        by_script("onbeforeunload = (e) => { e.preventDefault(); return 'stay' };"),
    ),
    Behaviour(
        "pop-ups",
        "opens window after window",
        "stored",
        by_script("for (let n = 0; n < 50; n++) window.open('/popup' + n);"),
    ),
    Behaviour("downloads", "starts downloads", "stored", downloads),
    Behaviour("busy-loop", "computes without end", "timeout", only_script("while (true) {}")),
    Behaviour(
        "memory-hog",
        "takes memory without end",
        "browser_failed",
        only_script(
            "const all = []; for (;;) { try { all.push(new Uint8Array(1e7).fill(1)) } catch { all.push(all.slice()) } }"
        ),
    ),
    Behaviour(
        "many-nodes",
        "adds elements without end",
        "browser_failed",
        only_script(
            "for (;;) document.body.appendChild(document.createElement('p')).textContent = 'more '.repeat(999)"
        ),
    ),
    Behaviour(
        "script-leads-inside",
        "a script leads to this machine",
        "forbidden_address",
        only_script("location = 'http://127.0.0.1/'"),
    ),
    Behaviour(
        "frames-inside",
        "asks this machine by frame, fetch() and WebSocket",
        "stored",
        by_script(
            "fetch('http://127.0.0.1/').catch(() => 0); new WebSocket('ws://[::1]/');"
            "document.body.appendChild(document.createElement('iframe')).src = 'http://127.0.0.1/';"
        ),
    ),
    Behaviour(
        "infinite-scroll",
        "grows whenever it is looked at",
        "stored",
        by_script(
            "setInterval(() => text.appendChild(document.createElement('p')).textContent = 'One more. '.repeat(9), 50);"
        ),
    ),
    Behaviour("script-article", "has an article made by a script", "stored", by_script("")),
    Behaviour("meta-refresh", "sends on by a meta tag", "stored", meta_refresh),
    Behaviour("cookie-wall", "wants a cookie first", "stored", cookie_wall),
    Behaviour(
        "wrong-charset",
        "says UTF-8 and sends windows-1251",
        "stored",
        answers(RUSSIAN.encode("cp1251"), Content_Type="text/html; charset=utf-8"),
    ),
    Behaviour("no-charset", "says nothing of its charset", "stored", answers(RUSSIAN.encode())),
    Behaviour("nested-tags", "nests 100,000 elements", "no_text", answers(page("<div>" * 100_000 + PARAGRAPH * 20))),
    Behaviour("line-breaks", "has 100,000 line breaks", "stored", answers(page("a line of text<br>" * 100_000))),
    Behaviour("huge-header", "sends a header of 1 MB", "connection_error", answers(TEXT, X_Huge="x" * 1_000_000)),
    Behaviour("no-content", "204", "empty_body", answers(b"", 204)),
    Behaviour("not-modified", "304, though nothing is known of it", "http_error", answers(b"", 304)),
    Behaviour("unauthorized", "401", "forbidden", bad_status(401)),
    Behaviour("forbidden", "403", "forbidden", bad_status(403)),
    Behaviour("not-found", "404", "not_found", bad_status(404)),
    Behaviour("gone", "410", "not_found", bad_status(410)),
    Behaviour("legal-reasons", "451", "forbidden", bad_status(451)),
    Behaviour("teapot", "418", "http_error", bad_status(418)),
    Behaviour(
        "too-many-requests",
        "429 with a Retry-After of an hour",
        "too_many_requests",
        bad_status(429, Retry_After="3600"),
    ),
    Behaviour("fails-once", "500, then fine", "stored", failing_once()),
    Behaviour("fails-always", "503", "server_error", bad_status(503)),
    Behaviour("bad-certificate", "has a certificate that nobody signed", "tls_error", tls),
    Behaviour("connection-reset", "breaks the connection off", "connection_error", reset),
    Behaviour("short-body", "sends less than it announced", "connection_error", short_body),
    Behaviour("no-http", "speaks another protocol", "connection_error", no_http),
    Behaviour("empty-body", "sends nothing", "empty_body", answers(b"")),
    Behaviour("pdf", "sends a PDF", "unsupported_media_type", answers(b"%PDF-1.7 ...", Content_Type="application/pdf")),
    Behaviour(
        "pdf-as-html",
        "sends a PDF and calls it HTML",
        "unsupported_media_type",
        answers(b"%PDF-1.7\n" + b"binary " * 99),
    ),
    Behaviour(
        "robots-forbidden", "forbids it in robots.txt", "robots_forbidden", answers(TEXT), b"User-agent: *\nDisallow: /"
    ),
    Behaviour("robots-fails", "503 for robots.txt", "robots_unreachable", answers(TEXT), b"503"),
    Behaviour("noai", "X-Robots-Tag: noai", "noindex", answers(TEXT, X_Robots_Tag="noai")),
    Behaviour(
        "noindex-tag",
        "a robots meta tag: noindex",
        "noindex",
        answers(article("Noindex", head="<meta name=robots content=noindex>")),
    ),
    Behaviour("tdm-reserved", "TDM-Reservation: 1", "reserved", answers(TEXT, TDM_Reservation="1")),
    Behaviour(
        "no-training",
        "Content-Signal: ai-train=no in robots.txt",
        "reserved",
        answers(TEXT),
        b"User-agent: *\nContent-Signal: search=yes, ai-train=no",
    ),
    Behaviour("nobody-there", "nothing listens there", "dead_host", tls),
)


class HostileWeb:
    """`with HostileWeb(folder) as web:`; host n is 127.0.2.n, the good ones are 127.0.3.n."""

    def __init__(self, folder: Path) -> None:
        web = self
        self.errors: list[str] = []

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(ConnectionError, ValueError):  # a client that went
                    web.answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class _Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def verify_request(self, _: object, client: Any) -> bool:
                return bool(client[0].startswith("127."))  # it listens on all addresses, for this machine alone

            def handle_error(self, *_: object) -> None:
                pass

        self._servers = [_Server(("0.0.0.0", 0), _Handler), _Server(("0.0.0.0", 0), _Handler)]
        self.port, self._tls_port = (server.server_address[1] for server in self._servers)
        self._servers[1].socket = wrapped(self._servers[1].socket, folder / "certificate.pem", "hostile.example")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._dead_port = free.getsockname()[1]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def address(self, number: int) -> str:
        name = BEHAVIOURS[number].name
        ports = {"bad-certificate": self._tls_port, "nobody-there": self._dead_port}
        return f"127.0.2.{number + 1}:{ports.get(name, self.port)}"

    def url(self, number: int) -> str:
        name = BEHAVIOURS[number].name
        return f"{'https' if name == 'bad-certificate' else 'http'}://{self.address(number)}/{name}"

    @property
    def urls(self) -> dict[str, str]:
        """The URL of each behaviour, by its name."""
        return {one.name: self.url(number) for number, one in enumerate(BEHAVIOURS)}

    @property
    def good_urls(self) -> list[str]:
        hosts = [f"127.0.3.{number + 1}:{self.port}" for number in range(GOOD_HOSTS)]
        return [f"http://{host}/good/{number}" for number in range(GOOD_PAGES) for host in hosts]

    @property
    def opened(self) -> list[str]:
        return [
            *map(self.address, range(len(BEHAVIOURS))),
            *(f"127.0.3.{number + 1}:{self.port}" for number in range(GOOD_HOSTS)),
        ]

    def answer(self, handler: Handler) -> None:
        block, number = (int(part) for part in handler.headers["Host"].partition(":")[0].split(".")[2:])
        if block == 3:
            found: Any = (404, {}, b"") if "." in handler.path else (200, {}, article(f"Good {number} {handler.path}"))
        else:
            behaviour = BEHAVIOURS[number - 1]
            if handler.path == "/robots.txt":
                plain = {"Content-Type": "text/plain"}
                found = (503, {}, b"") if behaviour.robots == b"503" else (200, plain, behaviour.robots)
            elif handler.path.startswith(("/.well-known/", "/favicon")):
                found = (404, {}, b"")
            else:
                found = behaviour.play(handler)
        if found is not None:
            send(handler, *found)
