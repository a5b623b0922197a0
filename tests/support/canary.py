"""A service of this machine that no page may reach: it counts who comes, over TCP and UDP, IPv4 and IPv6."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Canary:
    """`with Canary() as canary:`; `canary.seen` holds the first line of each connection, or `udp`."""

    def __init__(self, host: str = "", port: int = 0) -> None:
        self.seen: list[str] = []
        if host:
            self._tcp = socket.create_server((host, port))
        else:  # every address of this machine, of both families
            self._tcp = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._udp.bind(("::" if not host else f"::ffff:{host}", self.port))
        for watch in (self._accept, self._receive):
            threading.Thread(target=watch, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._tcp.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        number = len(self.seen)
        self.seen.append("tcp")
        with client, suppress(OSError):
            client.settimeout(2.0)
            first = client.recv(4096).partition(b"\r\n")[0].decode("latin-1")
            self.seen[number] = f"tcp {first}"
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")

    def _receive(self) -> None:
        with suppress(OSError):
            while self._udp.recvfrom(2048):
                self.seen.append("udp")
