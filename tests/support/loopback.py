"""A tiny web server for tests: a dictionary of answers, and a record of what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Handler = BaseHTTPRequestHandler
Answer = tuple[int, dict[str, str], bytes]
PARAGRAPH = (
    "The tide leaves the harbour twice a day, and twice a day the boats lie down on the mud like tired dogs, "
    "waiting without complaint for the water that always comes back. "
)


def article(title: str = "The harbour", *, extra: str = "", head: str = "", paragraphs: int = 4) -> bytes:
    """A page with enough text to be a document."""
    text = "".join(f"<p>{number}. {title}. {PARAGRAPH * 2}</p>" for number in range(paragraphs))
    page = (
        f"<html><head><title>{title}</title>{head}</head>"
        f"<body><article><h1>{title}</h1>{text}</article>{extra}</body></html>"
    )
    return page.encode()


def repeated(page: bytes) -> bytes:
    """The page with its first paragraph once more at the end: ours takes it once, trafilatura twice."""
    paragraph = page[page.index(b"<p>") : page.index(b"</p>") + len(b"</p>")]
    return page.replace(b"</article>", paragraph + b"</article>")


class Loopback:
    """`with Loopback({"/": ...}) as site:`; an answer is (status, headers, body), a body, or a function giving one."""

    def __init__(self, answers: dict[str, Any] | None = None, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Any] = answers or {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        site = self

        class _Handler(Handler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                with suppress(ConnectionError):
                    site.answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), _Handler)
        self._server.daemon_threads = True
        self.address = f"{host}:{self._server.server_address[1]}"  # as `search.allow_loopback` wants it
        self.url = f"http://{self.address}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def answer(self, handler: Handler) -> None:
        found = self.answers.get(handler.path, (404, {}, b"no such page"))
        if callable(found):
            found = found(handler)
        if found is not None:
            status, headers, body = found if isinstance(found, tuple) else (200, {}, found)
            send(handler, status, headers, body)


def send(handler: Handler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def in_turn(*answers: Any) -> Callable[[Handler], Any]:
    """One answer after the other; the last one stays."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]
