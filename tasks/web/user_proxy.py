"""The user's proxy: read from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, as curl reads them.

Only the web is asked through it. Servers of this machine (Prefect, the browser's driver, a site of one's own) never
are: this module says so to us, and `keep_loopback_direct` to libraries and child processes that read the environment.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tasks.contracts.addresses import is_ip_address, is_loopback
from tasks.contracts.errors import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class UserProxy:
    """An HTTP proxy."""

    variable: str  # which names it
    host: str
    port: int
    authorization: bytes = b""  # the value of the header Proxy-Authorization

    def __str__(self) -> str:
        return f"the proxy of {self.variable}, {self.host}:{self.port}"


class UserProxies:
    """Says which hosts are asked through which proxy."""

    def __init__(self, by_scheme: Mapping[str, UserProxy] | None = None, exempt: str = "") -> None:
        """`exempt` is the value of `no_proxy`: names with all below them, addresses, networks, `*`."""
        self.by_scheme = dict(by_scheme or {})
        self._exempt = [entry.strip().lower() for entry in exempt.split(",") if entry.strip()]

    def find(self, scheme: str, host: str, port: int) -> UserProxy | None:
        """Returns the proxy for a host; None where it is connected to directly, as all of this machine is."""
        name = host.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or is_loopback(name):
            return None
        if any(_matches(entry, name, port) for entry in self._exempt):
            return None
        return self.by_scheme.get(scheme)


def read_proxies(environ: Mapping[str, str] = os.environ) -> UserProxies:
    """Returns what the environment says. Raises SettingsError for a variable that names no HTTP proxy."""
    found = {}
    for scheme in ("http", "https"):
        for name in (f"{scheme}_proxy", "all_proxy"):
            variable, value = _variable(name, environ)
            if value:
                found[scheme] = _parse(variable, value)
                break
    return UserProxies(found, _variable("no_proxy", environ)[1])


def keep_loopback_direct(environ: MutableMapping[str, str] = os.environ) -> None:
    """Adds this machine to NO_PROXY where a proxy is set. Called once at start, by each program that asks Prefect.

    Prefect's client, its server and its flow runs, Selenium and websockets read the environment, each by itself, and
    would ask the proxy for 127.0.0.1.

    Raises:
        SettingsError: a variable names no HTTP proxy.
    """
    proxies = read_proxies(environ)
    used = {proxy.variable.lower() for proxy in proxies.by_scheme.values()}
    if used == {"http_proxy", "https_proxy"}:
        # `all_proxy` stands for nothing then, but Prefect's client would load what it names, and SOCKS makes it fail.
        for name in ("all_proxy", "ALL_PROXY"):
            environ.pop(name, None)
    if proxies.by_scheme:
        given = _variable("no_proxy", environ)[1]
        entries = [entry for entry in map(str.strip, given.split(",")) if entry]
        exempt = ",".join(dict.fromkeys([*entries, *LOOPBACK]))
        environ["no_proxy"] = environ["NO_PROXY"] = exempt  # some read the one, some the other


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Returns a variable's name and value; the lower case one counts first, also where it is empty."""
    variable = name if name in environ else name.upper()
    return variable, environ.get(variable, "").strip()


def _parse(variable: str, value: str) -> UserProxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "http" or not host:
        kind = f"{parts.scheme.upper()} proxies are not supported" if host else "it is no address of a proxy"
        # Without the value: there may be a password in it.
        raise SettingsError(
            f"{variable}: {kind}. Set http_proxy and https_proxy to an HTTP proxy (http://host:port), "
            f"or go without: env -u {variable} and the command."
        )
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return UserProxy(variable, host, port, b"Basic " + b64encode(user.encode()) if parts.username else b"")


def _matches(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `no_proxy` names a host."""
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*.").strip(".")
    if is_ip_address(host):
        try:
            return entry == "*" or ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    return entry in ("*", host) or host.endswith(f".{entry}")
