"""The gate to the outside: which addresses may be reached, checked for the very address that is connected to.

httpx (`http_client`) and the browsers (`proxy`) both ask here, and nothing else opens a connection outwards. A name is
resolved once, every address it has is looked at, and the connection goes to an address and never to the name
again: a name server that answers differently a moment later gains nothing.
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

PORTS = (80, 443)
Resolver = Callable[[str, int], list[str]]

# IANA's registries of special-purpose addresses (RFC 6890 and what came after), without those that are reachable
# by everybody. The list is ours, since `ipaddress.is_global` differs between versions of Python.
REFUSED_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",  # Azure's host agent: within public space, but answers each virtual machine by itself
    )
]
# Only 2000::/3 is given out for the internet; in it these are not, or lead to IPv4 addresses that nobody checked
# (Teredo within 2001::/23, 6to4 in 2002::/16).
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
REFUSED_IPV6 = [ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052; how networks without IPv4 reach all of it


class EgressPolicy:
    """Lets through ports 80 and 443 of public addresses, and what is opened by name.

    `opened` holds endpoints as `127.0.0.1:8765` or `search.home.example:8080`: that very address, or that very host
    name wherever it leads, at that very port. Only the user may write them, never a page. `refuse` raises
    `PageRejected` for the address of a host that a blocklist names: it is not even resolved, so that a page's scripts,
    frames and redirects reach it no more than we do.
    """

    def __init__(
        self,
        opened: Iterable[str] = (),
        resolve: Resolver | None = None,
        refuse: Callable[[str], None] = lambda url: None,
    ) -> None:
        self._refuse = refuse
        self._opened = frozenset(map(endpoint, opened))
        self._resolve = resolve or resolve_by_system
        self._own = _own_addresses()

    def addresses(self, host: str, port: int, seconds: float) -> list[str]:
        """The addresses of a host, all of them checked.

        Raises:
            Refused: `forbidden_address` where any of them, or the port, is not for us; `dead_host` where there is none;
                `timeout` where the name's servers take longer than `seconds`; `blocklisted`.
        """
        self._refuse(f"http://[{host}]/" if ":" in host else f"http://{host}/")
        addresses = self._lookup(host, port, seconds)
        if (host.lower(), port) not in self._opened:
            for address in addresses:
                self._check(host, address, port)
        return addresses

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """A connection to the first address that answers.

        Raises:
            Refused: as `addresses`, and `dead_host` where nothing answers.
        """
        failure: OSError | None = None
        for address in self.addresses(host, port, seconds):
            try:
                return socket.create_connection((address, port), seconds)
            except OSError as error:
                failure = error
        raise PageRejected("dead_host", f"{host}: {failure or 'no address'}")

    def _check(self, host: str, address: str, port: int) -> None:
        if (address, port) in self._opened:
            return
        what = host if host == address else f"{host} is {address}"
        if not is_public(address) or address in self._own:
            hint = "; search.allow_loopback can open it" if address.startswith(("127.", "::1")) else ""
            raise PageRejected("forbidden_address", f"{what}, which is not on the public internet{hint}")
        if port not in PORTS:
            raise PageRejected("forbidden_address", f"{what}, port {port}: only {PORTS[0]} and {PORTS[1]} are asked")

    def _lookup(self, host: str, port: int, seconds: float) -> list[str]:
        """In a thread: the system's resolver knows no deadline."""
        if is_ip_address(host):
            return [host.lower()]
        found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                found.put(error)

        threading.Thread(target=ask, daemon=True, name="resolver").start()
        try:
            answer = found.get(timeout=max(seconds, 0.0))
        except queue.Empty as error:
            raise PageRejected("timeout", f"no answer from the name servers for {host}") from error
        if isinstance(answer, Exception) or not answer:
            raise PageRejected("dead_host", f"{host}: {answer or 'no address'}")
        return answer


def resolve_by_system(host: str, port: int) -> list[str]:
    """All addresses of a name, each once, in the system's order of preference. Raises OSError or UnicodeError."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return ["127.0.0.1"]  # RFC 6761: this machine, whatever name servers say
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Whether an IP address, also one written inside another, is part of the public internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in REFUSED_IPV4)
    if ip in MAPPED or ip in NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip in GLOBAL_IPV6 and not any(ip in network for network in REFUSED_IPV6)


def _own_addresses() -> frozenset[str]:
    """This machine's, public ones too: from here they lead past its firewall."""
    with suppress(OSError):
        return frozenset(one.address.partition("%")[0] for each in psutil.net_if_addrs().values() for one in each)
    return frozenset()
