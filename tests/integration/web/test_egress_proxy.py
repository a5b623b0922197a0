"""The proxy between a browser and the web, spoken to over plain sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tasks.web.egress import EgressPolicy
from tasks.web.egress_proxy import Proxy
from tests.support.loopback import Handler, Loopback, send


def echo(handler: Handler) -> None:
    size = int(handler.headers.get("Content-Length", 0))
    said = f"{handler.command} {handler.path} {sorted(handler.headers.items())}".encode() + handler.rfile.read(size)
    send(handler, 200, {"Connection": "keep-alive", "X-Kept": "yes"}, said)


@pytest.fixture
def site() -> Iterator[Loopback]:
    with Loopback(
        {"/echo": echo, "/plain": b"hello", "/large": b"x" * 2_000_000, "/slow": lambda _: time.sleep(20)}
    ) as server:
        yield server


@pytest.fixture
def proxy(site: Loopback) -> Iterator[Proxy]:
    with closing(Proxy(EgressPolicy([site.address]))) as opened:
        yield opened


def talk(proxy: Proxy, request: bytes, seconds: float = 5.0) -> bytes:
    """What comes back until the connection ends."""
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    answer = b""
    with socket.create_connection((host, int(port)), seconds) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return answer


def test_a_plain_request_is_passed_on_without_what_concerns_the_proxy_alone(site: Loopback, proxy: Proxy) -> None:
    head = f"POST {site.url}/echo HTTP/1.1\r\nHost: {site.address}\r\nContent-Length: 4\r\n"
    head += "Proxy-Connection: keep-alive\r\nUpgrade: x\r\nX-Own: 1\r\n\r\n"
    with proxy.visit(5, 1_000_000):
        answer = talk(proxy, head.encode() + b"body").decode()
    assert answer.startswith("HTTP/1.1 200") and answer.endswith("body") and "POST /echo" in answer
    assert "('X-Own', '1')" in answer and "Upgrade" not in answer and "Proxy-" not in answer
    assert "X-Kept: yes" in answer and "Connection: close" in answer and "keep-alive" not in answer


def test_a_second_request_on_a_connection_never_reaches_the_first_ones_host(site: Loopback, proxy: Proxy) -> None:
    first = f"GET {site.url}/echo HTTP/1.1\r\nHost: {site.address}\r\n\r\n"
    with proxy.visit(5, 1_000_000):
        talk(proxy, (first + "GET http://1.1.1.1/secret HTTP/1.1\r\nHost: 1.1.1.1\r\nCookie: mine\r\n\r\n").encode())
    assert site.paths == ["/echo"]


def test_a_tunnel_carries_anything_both_ways(site: Loopback, proxy: Proxy) -> None:
    inner = f"GET /plain HTTP/1.1\r\nHost: {site.address}\r\nConnection: close\r\n\r\n"
    with proxy.visit(5, 1_000_000):
        answer = talk(proxy, f"CONNECT {site.address} HTTP/1.1\r\n\r\n{inner}".encode())
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200") and answer.endswith(b"hello")


def test_what_the_egress_policy_forbids_gets_no_answer_and_has_a_name(site: Loopback, proxy: Proxy) -> None:
    with proxy.visit(5, 1_000_000) as visit:
        assert talk(proxy, b"GET http://127.0.0.1:80/ HTTP/1.1\r\n\r\n") == b""
        assert talk(proxy, b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n") == b""
        assert talk(proxy, b"CONNECT 1.1.1.1:22 HTTP/1.1\r\n\r\n") == b""
        assert {name: one.reason for name, one in visit.denied.items()} == dict.fromkeys(
            ("127.0.0.1:80", "::1:443", "1.1.1.1:22"), "forbidden_address"
        )


def test_only_during_a_visit(site: Loopback, proxy: Proxy) -> None:
    request = f"GET {site.url}/echo HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert talk(proxy, request) == b""
    with proxy.visit(5, 1_000_000):
        assert talk(proxy, request)
    assert talk(proxy, request) == b"" and len(site.requests) == 1


def test_a_bound_of_bytes_and_a_deadline(site: Loopback, proxy: Proxy) -> None:
    with proxy.visit(5, 500_000) as visit:
        assert len(talk(proxy, f"GET {site.url}/large HTTP/1.1\r\nHost: x\r\n\r\n".encode())) < 600_000
        assert visit.exceeded and talk(proxy, f"GET {site.url}/echo HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == b""
    started = time.monotonic()
    for request in ("GET {0}/slow HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT {1} HTTP/1.1\r\n\r\n", "GET {0}"):
        with proxy.visit(0.3, 500_000):
            talk(proxy, request.format(site.url, site.address).encode())
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "request_line",
    [
        *("GET / HTTP/1.1", "GET ftp://127.0.0.1/ HTTP/1.1", "GET https://127.0.0.1/ HTTP/1.1", "CONNECT x HTTP/1.1"),
        *(
            "CONNECT 127.0.0.1:x HTTP/1.1",
            "GET http://[::1/ HTTP/1.1",
            "HELLO",
            "GET http:// HTTP/1.1",
            "\u00e4 \u00e4",
        ),
    ],
)
def test_nonsense_is_left_unanswered(site: Loopback, proxy: Proxy, request_line: str) -> None:
    with proxy.visit(5, 1_000_000):
        assert talk(proxy, f"{request_line}\r\n\r\n".encode()) == b""
        assert talk(proxy, f"GET {site.url}/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()) == b""
        assert talk(proxy, b"GET http://x/ HTTP/1.1\r\n" + b"A: b\r\n" * 60_000) == b""
        assert talk(proxy, f"GET {site.url}/echo HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert site.paths == ["/echo"]


def test_an_ordinary_client_gets_along_with_it(site: Loopback, proxy: Proxy) -> None:
    with proxy.visit(10, 100_000_000), httpx.Client(proxy=proxy.url, trust_env=False) as client:
        assert [len(client.get(f"{site.url}/large").content) for _ in range(3)] == [2_000_000] * 3
