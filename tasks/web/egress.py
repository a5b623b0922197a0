"""Egress control against SSRF: which addresses may be reached, checked for the very address that is connected to.

The HTTP client (`http_client`) and the browsers' proxy (`egress_proxy`) ask here; nothing else connects to the outside.
A name is resolved once, all of its addresses are checked, and the connection goes to an address, never to the name
again: so a name server that answers differently a moment later (DNS rebinding) gains nothing.

Where the user has a proxy (`user_proxy`), the proxy resolves the names. Blocklists, ports, addresses written as such
and names of local networks are still checked; where any other name leads, the proxy alone knows.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from tasks.contracts.addresses import endpoint, is_ip_address
from tasks.contracts.outcomes import PageRejected
from tasks.web.user_proxy import UserProxies, UserProxy, read_proxies

PORTS = (80, 443)
# Names that no name server of the public internet knows (RFC 6762, RFC 8375, ICANN), but that of a proxy may.
LOCAL_NAMES = (".local", ".internal", ".localdomain", ".home.arpa", ".lan", ".intranet")
Resolver = Callable[[str, int], list[str]]

# IANA's special-purpose addresses (RFC 6890 and later ones) that are not reachable from everywhere. The list is our
# own, since `ipaddress.is_global` differs between versions of Python.
REFUSED_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure's host agent: within public space, but answers each virtual machine by itself
    )
]
# Only 2000::/3 belongs to the public internet. These parts of it do not, or lead to unchecked IPv4 addresses (Teredo
# within 2001::/23, 6to4 in 2002::/16).
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
REFUSED_IPV6 = [ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: networks without IPv4 reach IPv4 addresses through it
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class EgressPolicy:
    """Allows ports 80 and 443 of public addresses, and the endpoints in `opened`.

    Args:
        opened: endpoints as `127.0.0.1:8765` or `search.home.example:8080`. Opens exactly that port of that address, or
            of that host name wherever it leads. Only the user may write them, never a page.
        resolve: looks a name up; the system's resolver by default.
        reject: raises `PageRejected` for the URL of a host on a blocklist. Such a host is not even resolved, so that a
            page's scripts, frames and redirects cannot reach it either.
        proxies: the user's; by default what the environment says.
    """

    def __init__(
        self,
        opened: Iterable[str] = (),
        resolve: Resolver | None = None,
        reject: Callable[[str], None] = lambda url: None,
        proxies: UserProxies | None = None,
    ) -> None:
        self._reject = reject
        self.proxies = read_proxies() if proxies is None else proxies
        self._opened = frozenset(map(endpoint, opened))
        self._resolve = resolve or resolve_by_system

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """Returns the addresses of a host, all of them checked.

        Raises:
            PageRejected: `forbidden_address` where one of them, or the port, is not allowed; `dead_host` where there is
                none; `timeout` where the name servers take longer than `seconds`; `blocklisted`.
        """
        self._reject(f"http://[{host}]/" if ":" in host else f"http://{host}/")
        addresses = self._lookup(host, port, seconds)
        if (host.lower(), port) not in self._opened:
            for address in addresses:
                self._check(host, address, port)
        return addresses

    def proxy_for(self, scheme: str, host: str, port: int) -> UserProxy | None:
        """Returns the user's proxy for a host, which resolves its name; None where `addresses` says where to connect.

        Raises:
            PageRejected: `forbidden_address` and `blocklisted`, as far as name and port tell.
        """
        address = _written_address(host)
        proxy = self.proxies.find(scheme, address or host, port)
        if proxy is not None:
            self._reject(f"http://[{host}]/" if ":" in host else f"http://{host}/")
            if (host.lower(), port) not in self._opened:
                self._check_name(host, address, port)
        return proxy

    def addresses_of_proxy(self, proxy: UserProxy, seconds: float) -> list[str]:
        """Returns the addresses of the user's proxy, wherever it is. Raises `PageRejected("proxy_failed")`."""
        try:
            return self._lookup(proxy.host, proxy.port, seconds)
        except PageRejected as rejected:
            raise PageRejected("proxy_failed", f"{proxy}: {rejected.detail}") from rejected

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Returns a connection to the first address that answers.

        Raises:
            PageRejected: as `addresses`, and `dead_host` where nothing answers.
        """
        try:
            return _connect(self.addresses(host, port, seconds), port, seconds)
        except OSError as error:
            raise PageRejected("dead_host", f"{host}: {error}") from error

    def connect_to_proxy(self, proxy: UserProxy, seconds: float) -> socket.socket:
        """Returns a connection to the user's proxy. Raises `PageRejected("proxy_failed")`."""
        try:
            return _connect(self.addresses_of_proxy(proxy, seconds), proxy.port, seconds)
        except OSError as error:
            raise PageRejected("proxy_failed", f"{proxy}: {error}") from error

    def _check_name(self, host: str, address: str | None, port: int) -> None:
        name = host.lower().rstrip(".")
        if address is not None:
            self._check(host, address, port)
        elif "." not in name or name.endswith(LOCAL_NAMES):
            raise PageRejected("forbidden_address", f"{host} is a name of a local network")
        elif port not in PORTS:
            raise _wrong_port(host, port)

    def _check(self, host: str, address: str, port: int) -> None:
        if (address, port) in self._opened:
            return
        what = host if host == address else f"{host} is {address}"
        if not is_public(address) or innermost(address) in own_addresses():
            hint = "; search.allow_loopback can open it" if address.startswith(("127.", "::1")) else ""
            raise PageRejected("forbidden_address", f"{what}, which is not on the public internet{hint}")
        if port not in PORTS:
            raise _wrong_port(what, port)

    def _lookup(self, host: str, port: int, seconds: float) -> list[str]:
        """Resolves a name in a thread of its own, since the system's resolver has no deadline."""
        if is_ip_address(host):
            return [host.lower()]
        found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(self._resolve(host, port))
            except Exception as error:
                found.put(error)

        threading.Thread(target=ask, daemon=True, name="resolver").start()
        try:
            answer = found.get(timeout=max(seconds, 0.0))
        except queue.Empty as error:
            raise PageRejected("timeout", f"no answer from the name servers for {host}") from error
        if isinstance(answer, Exception) and not isinstance(answer, OSError | ValueError):
            raise answer
        if isinstance(answer, Exception) or not answer:
            raise PageRejected("dead_host", f"{host}: {answer or 'no address'}")
        return answer


def _wrong_port(what: str, port: int) -> PageRejected:
    return PageRejected("forbidden_address", f"{what}, port {port}: only {PORTS[0]} and {PORTS[1]} are asked")


def _connect(addresses: list[str], port: int, seconds: float) -> socket.socket:
    failure = OSError("no address")
    for address in addresses:
        try:
            return socket.create_connection((address, port), seconds)
        except OSError as error:
            failure = error
    raise failure


def _written_address(host: str) -> str | None:
    """Returns the IP address that a host is written as: `127.1` and `0x7f000001` are 127.0.0.1, to a proxy too."""
    try:
        return str(socket.getaddrinfo(host.rstrip("."), None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        return None


def resolve_by_system(host: str, port: int) -> list[str]:
    """Returns all addresses of a name, each once, in the system's order. Raises OSError or UnicodeError."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return ["127.0.0.1"]  # RFC 6761: this machine, whatever name servers say
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def innermost(address: str) -> Address:
    """Returns the address that a connection reaches, however it is spelled: the IPv4 one inside, without a zone."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in MAPPED or ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ipaddress.IPv6Address(int(ip))


def is_public(address: str) -> bool:
    """Whether an IP address, or the IPv4 address inside it, is part of the public internet."""
    ip = innermost(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in REFUSED_IPV4)
    return ip in GLOBAL_IPV6 and not any(ip in network for network in REFUSED_IPV6)


def own_addresses() -> frozenset[Address]:
    """Returns all addresses of this machine now: from here, even public ones lead past its firewall.

    They are asked for each connection (0.2 ms), since a machine gets others while a night runs.
    """
    with suppress(OSError):
        interfaces = psutil.net_if_addrs().values()
        return frozenset(innermost(one.address) for each in interfaces for one in each if is_ip_address(one.address))
    return frozenset()
