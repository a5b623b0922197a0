"""What was forgotten, so that it is not collected again: keyed hashes, from which no address can be read back.

`raw/forgotten.jsonl` belongs to the truth: the key first, then a line a page or domain. Who holds the file can try
whether an address that he already has is in it; nobody can list what is. A domain covers all of its subdomains.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.contracts.addresses import is_ip_address
from tasks.contracts.errors import SettingsError, TruthDamagedError
from tasks.contracts.outcomes import PageRejected
from tasks.contracts.urls import DEFAULT_PORTS, url_key
from tasks.storage.atomic_files import write_atomically

PAGE, DOMAIN = "page", "domain"
STAND_IN = "forgotten:"
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,40}")


class SuppressionList:
    """The pages and domains of one data directory that stay away. Reads its file once, when it is made.

    Raises:
        TruthDamagedError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path  # one that is not there: nothing was forgotten
        self._key = b""
        self._lines: dict[str, dict[str, str]] = {}  # by kind and hash, in the order of the file
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            first, *rest = (json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines())
            self._key = bytes.fromhex(first["key"])
            for line in rest:
                kind = PAGE if PAGE in line else DOMAIN
                self._lines[f"{kind} {line[kind]}"] = line
        except (ValueError, KeyError, TypeError) as error:
            raise TruthDamagedError(f"{self.path} is damaged ({error}). Restore raw/ from your backup.") from error

    def covers(self, url: str) -> bool:
        """Whether this page, or a domain that it is on, was forgotten. An address that is none is not covered."""
        if not self._lines:
            return False
        try:
            page = url.startswith(STAND_IN) or f"{PAGE} {self._hash(PAGE, url_key(url))}" in self._lines
            return page or self._is_on_forgotten_domain(url)
        except ValueError:
            return False

    def _is_on_forgotten_domain(self, url: str) -> bool:
        return any(f"{DOMAIN} {self._hash(DOMAIN, name)}" in self._lines for name in domains_of(url))

    def refuse(self, url: str) -> None:
        """Raises `PageRejected("forgotten")` for an address that stays away."""
        if self.covers(url):
            raise PageRejected("forgotten")

    def refuse_host(self, url: str) -> None:
        """Raises `PageRejected("forgotten")` where all of the address's host stays away; it needs no path."""
        if self._lines and self._is_on_forgotten_domain(url):
            raise PageRejected("forgotten")

    def covers_domain(self, domain: str) -> bool:
        return bool(self._key) and f"{DOMAIN} {self._hash(DOMAIN, domain)}" in self._lines

    def stand_in(self, url: str) -> str:
        """What stands for a forgotten page where its address may not: it can be told from others, and not read."""
        return url if url.startswith(STAND_IN) else STAND_IN + self._hash(PAGE, url_key(url))

    def remember(self, urls: Iterable[str], domain: str | None, at: str) -> None:
        """Durable when it returns; what is known already stays as it is."""
        if not self._key:
            self._key = secrets.token_bytes(32)
        found = [(PAGE, self._hash(PAGE, url_key(url))) for url in urls] + (
            [(DOMAIN, self._hash(DOMAIN, domain))] if domain else []
        )
        before = len(self._lines)
        for kind, value in found:
            self._lines.setdefault(f"{kind} {value}", {kind: value, "at": at})
        if len(self._lines) > before:
            lines: list[dict[str, Any]] = [{"key": self._key.hex()}, *self._lines.values()]
            write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode(), mode=0o600)

    def _hash(self, kind: str, name: str) -> str:
        return hashlib.blake2b(f"{kind} {name}".encode(), key=self._key, digest_size=16).hexdigest()


NOTHING_SUPPRESSED = SuppressionList(Path("nothing.jsonl"))


def domains_of(url: str) -> Iterator[str]:
    """The host and each domain above it; where a port is given that is not the default one, each with it, too."""
    parts = urlsplit(url_key(url))
    labels = (parts.hostname or "").rstrip(".").split(".")
    for start in range(len(labels)):
        name = ".".join(labels[start:])
        yield name
        if parts.port and parts.port != DEFAULT_PORTS.get(parts.scheme):
            yield f"{name}:{parts.port}"


def domain_named(text: str) -> str:
    """A domain as a user writes it, in the form that is compared.

    Raises:
        SettingsError: it is none, or so short that it would cover half the web.
    """
    host, colon, port = text.strip().lower().rstrip(".").partition(":")
    try:
        host = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        host = ""
    if not HOST.fullmatch(host) or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise SettingsError(f"{text!r} is no domain: give one such as example.org; for a single page take --url.")
    if "." not in host and host != "localhost" and not is_ip_address(host):
        raise SettingsError(f"{text!r} would cover every site below it: give a domain such as example.{host}.")
    return f"{host}:{port}" if colon else host
