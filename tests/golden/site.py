"""A site on this machine with a page for most ways in which a visit can end, and a record of what was asked."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.golden.texts import chinese, html, prose

Answer = tuple[int, dict[str, str], bytes]
PAGE = "text/html; charset=utf-8"
NUMBER = 100
# Pages that are found in another way than from the start page.
UNLINKED = ("/from", "/deep/", "/robots.txt", "/feed.xml", "/sitemap.xml", "/moved-here", "/article-3")


class Site:
    """`with Site() as site:`; `requests` is what it was asked: path and conditions, in order."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.headers: dict[str, dict[str, str]] = {}
        site = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, body = site.answer(self.path, dict(self.headers.items()))
                with suppress(ConnectionError):
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self.pages = _pages(self.url)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, asked: dict[str, str]) -> Answer:
        conditions = {name: asked[name] for name in ("If-None-Match", "If-Modified-Since") if name in asked}
        self.requests.append(" ".join([path, *(f"{name}: {value}" for name, value in conditions.items())]))
        self.headers[path] = asked
        status, headers, body = self.pages.get(path, (404, {"Content-Type": PAGE}, b"no such page"))
        validators = {headers[name] for name in ("ETag", "Last-Modified") if name in headers}
        return (304, {}, b"") if validators & set(conditions.values()) else (status, headers, body)

    def profile(self) -> str:
        """Collects it all: from its start page, a list of addresses, a feed, a sitemap and a search engine."""
        listed = ["/listed?b=2&a=1&utm_source=mail#part", "/article-3", "/missing", "/blocked/page"]
        return (
            f"[search]\ntopics = ['harbours']\nallow_loopback = ['{self.address}']\nblocklists = ['blocked.txt']\n"
            f"[[search.sources]]\nprovider = 'site'\nurl = '{self.url}/'\nmax_depth = 2\n"
            f"[[search.sources]]\nprovider = 'urls'\nurls = {json.dumps([self.url + path for path in listed])}\n"
            f"[[search.sources]]\nprovider = 'feed'\nurl = '{self.url}/feed.xml'\n"
            f"[[search.sources]]\nprovider = 'sitemap'\nurl = '{self.url}/sitemap.xml'\n"
            f"[[search.sources]]\nprovider = 'searxng'\nbase_url = '{self.url}'\npause_seconds = 0\n"
            "[render]\nbrowser = 'never'\ndelay_seconds = 0\nretries = 0\nmax_page_bytes = 30000\nbatch = 7\n"
            "contact = 'golden@example.org'\n"
        )


def _page(title: str, text: str, **headers: str) -> Answer:
    return 200, {"Content-Type": PAGE, **headers}, html(title, text, NUMBER).encode()


def _raw(body: bytes, kind: str = PAGE, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": kind, **headers}, body


def _with_head(head: str, text: str) -> Answer:
    return _raw(html("A head of its own", text, NUMBER).replace("<head>", f"<head>{head}").encode())


def _redirect(target: str) -> Answer:
    return 302, {"Location": target}, b""


def _pages(url: str) -> dict[str, Answer]:
    pages: dict[str, Answer] = {
        "/robots.txt": _raw(b"User-agent: *\nDisallow: /private/\n", "text/plain"),
        "/article-1": _page("The first", prose(101), ETag='"one"'),
        "/article-2": _page("The second", prose(102), **{"Last-Modified": "Wed, 07 Jan 2026 08:00:00 GMT"}),
        "/article-3": _page("The third", prose(103)),
        "/copy-of-1": _page("The first again", prose(101)),
        "/chinese": _page("山水", chinese(104)),
        "/plain.txt": _raw(prose(105).encode(), "text/plain; charset=utf-8"),
        "/latin-1": _raw(
            html("Übersicht", prose(106).replace("river", "Flüßchen"), NUMBER)
            .replace('<meta charset="utf-8">', "")
            .encode("latin-1"),
            "text/html; charset=ISO-8859-1",
        ),
        "/undeclared": _raw(
            html("“Quotes”", prose(107).replace("stone", "“stone”"), NUMBER)
            .replace('<meta charset="utf-8">', "")
            .encode("cp1252"),
            "text/html",
        ),
        "/moved": _redirect("/moved-here"),
        "/moved-here": _page("Moved", prose(108)),
        "/refreshed": _raw(b'<html><head><meta http-equiv="refresh" content="0; url=/refreshed-to"></head></html>'),
        "/refreshed-to": _page("Refreshed", prose(109)),
        "/loop": _redirect("/loop"),
        "/out": _redirect("http://10.0.0.1/"),
        "/mail": _redirect("mailto:someone@example.org"),
        "/private/page": _page("Private", prose(110)),
        "/noindex": _with_head('<meta name="robots" content="noindex">', prose(111)),
        "/noindex-header": _page("Noindex", prose(112), **{"X-Robots-Tag": "noindex"}),
        "/nofollow": _with_head('<meta name="robots" content="nofollow">', prose(113)),
        "/reserved": _page("Reserved", prose(114), **{"tdm-reservation": "1"}),
        "/no-training": _page("Not for training", prose(115), **{"Content-Signal": "ai-train=no"}),
        "/licensed": _page("Licensed", prose(116)),
        "/short": _page("Short", "Not much to say."),
        "/empty": _raw(b""),
        "/no-text": _raw(b"<html><head><title>Nothing</title></head><body><script>1</script></body></html>"),
        "/pdf": _raw(b"%PDF-1.7 and more", "text/html"),
        "/data.json": _raw(b"{}", "application/json"),
        "/large": _page("Large", prose(117, 8000)),
        "/gone": _raw(b"gone", status=410),
        "/forbidden": _raw(b"no", status=403),
        "/teapot": _raw(b"no", status=418),
        "/broken": _raw(b"oops", status=500),
        "/damaged": (200, {"Content-Type": PAGE, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08 no gzip"),
        "/deep": _raw(
            ("<html><body>" + "".join(f'<p><a href="/deep/{n}">Page {n}</a></p>' for n in range(4))).encode()
        ),
        "/deep/0": _page("Deep", prose(118)),
        "/listed?a=1&b=2": _page("Listed", prose(119)),
        "/from-feed": _page("From the feed", prose(120)),
        "/from-sitemap": _page("From the sitemap", prose(121)),
        "/from-search": _page("From the search engine", prose(122)),
        "/feed.xml": _raw(
            f'<rss version="2.0"><channel><title>News</title><item><title>One</title><link>{url}/from-feed</link>'
            f"</item></channel></rss>".encode(),
            "application/rss+xml",
            ETag='"feed"',
        ),
        "/sitemap.xml": _raw(
            '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
            f"<url><loc>{url}/from-sitemap</loc></url></urlset>".encode(),
            "application/xml",
        ),
        "/search?q=harbours&format=json&pageno=1&language=en": _raw(
            json.dumps({"results": [{"url": f"{url}/from-search", "title": "One"}]}).encode(), "application/json"
        ),
        "/search?q=harbours&format=json&pageno=2&language=en": _raw(b'{"results": []}', "application/json"),
    }
    pages["/listed?b=2&a=1&utm_source=mail"] = pages["/listed?a=1&b=2"]
    links = [path for path in pages if "?" not in path and not path.startswith(UNLINKED)]
    links += ["/missing", "/blocked/page", "http://elsewhere.example/"]
    anchors = "".join(f'<li><a href="{path}">{path.strip("/")}</a></li>' for path in links)
    pages["/"] = _raw(f"<html><head><title>Start</title></head><body><ul>{anchors}</ul></body></html>".encode())
    return pages
