"""What counts as a web address, an IP address, an endpoint of this machine: one answer for every room."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit


def is_web_address(url: str) -> bool:
    """Whether a URL is absolute, http or https, with a host and a possible port."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an impossible port or IPv6 address
        return False


def join_web_address(base: str, address: str) -> str | None:
    """The absolute http or https address that a page at `base` means, without fragment; None for anything else."""
    try:
        found = urljoin(base, address).partition("#")[0]
    except ValueError:
        return None
    return found if is_web_address(found) else None


def is_ip_address(host: str) -> bool:
    """Whether a host is an IP address written in full; `2130706433` and `0x7f.1` are names to the resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host is an IP address of this machine's loopback range."""
    return is_ip_address(host) and ipaddress.ip_address(host).is_loopback


def is_on_this_machine(url: str) -> bool:
    """Whether a URL's host is this machine, as people write it."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def endpoint(text: str) -> tuple[str, int]:
    """`127.0.0.1:8765` or `[::1]:8765` as host and port. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} must be an address and a port, such as 127.0.0.1:8765")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)
