"""The HTTP proxy of a user: it alone knows where some names lead, as in a network that cannot reach the web itself."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


class HttpProxy:
    """`with HttpProxy({"harbour.example:80": site.address}) as proxy:`; any other host gets 502."""

    def __init__(self, leads_to: dict[str, str], authorization: str = "") -> None:
        """`authorization` is the value of Proxy-Authorization that it wants."""
        self.asked: list[str] = []  # `GET http://harbour.example/`, `CONNECT harbour.example:443`
        proxy = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(OSError):
                    proxy._forward(self, leads_to)

            def do_CONNECT(self) -> None:
                with suppress(OSError):
                    proxy._tunnel(self, leads_to)

            def parse_request(self) -> bool:
                whole = super().parse_request()
                if whole:
                    proxy.asked.append(f"{self.command} {self.path}")
                    if authorization and self.headers["Proxy-Authorization"] != authorization:
                        _refuse(self, 407)
                        return False
                return whole

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _forward(self, handler: BaseHTTPRequestHandler, leads_to: dict[str, str]) -> None:
        parts = urlsplit(handler.path)
        where = leads_to.get(f"{parts.hostname}:{parts.port or 80}")
        if where is None:
            _refuse(handler, 502)
            return
        connection = HTTPConnection(where, timeout=10)
        headers = {name: value for name, value in handler.headers.items() if not name.lower().startswith("proxy-")}
        connection.request("GET", parts.path or "/", headers=headers | {"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read()
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        connection.close()

    def _tunnel(self, handler: BaseHTTPRequestHandler, leads_to: dict[str, str]) -> None:
        where = leads_to.get(handler.path)
        if where is None:
            _refuse(handler, 502)
            return
        host, _, port = where.partition(":")
        handler.close_connection = True
        with socket.create_connection((host, int(port)), 10) as server:
            handler.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            up = threading.Thread(target=_copy, args=(handler.connection, server), daemon=True)
            up.start()
            _copy(server, handler.connection)


def _refuse(handler: BaseHTTPRequestHandler, status: int) -> None:
    handler.close_connection = True
    handler.send_response(status)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
