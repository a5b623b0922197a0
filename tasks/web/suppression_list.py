"""The suppression list: what was forgotten and must not be collected again, as keyed hashes.

`raw/forgotten.jsonl` belongs to the raw data: its first line is the key, each further line a page or domain. With the
file one can test whether a known address is in it, but nobody can list the addresses. A domain covers its subdomains.
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
from tasks.contracts.urls import DEFAULT_PORTS, former_key, url_key
from tasks.storage.atomic_files import write_atomically
from tasks.web.url_patterns import ascii_host

PAGE, DOMAIN = "page", "domain"
PSEUDONYM = "forgotten:"  # and the hash of a page
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,40}")


class SuppressionList:
    """The forgotten pages and domains of one data directory. Reads its file once, in the constructor.

    Raises:
        TruthDamagedError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path  # does not exist while nothing is forgotten
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
        """Whether this page, or a domain that it is on, was forgotten. False for what is no address."""
        if not self._lines:
            return False
        try:
            return url.startswith(PSEUDONYM) or self._has_page(url) or self._covers_host(url)
        except ValueError:
            return False

    def _covers_host(self, url: str) -> bool:
        return any(self._has(DOMAIN, name) for name in domains_of(url))

    def _has_page(self, url: str) -> bool:
        return any(self._has(PAGE, key) for key in {url_key(url), former_key(url)})

    def _has(self, kind: str, name: str) -> bool:
        return f"{kind} {self._hash(kind, name)}" in self._lines

    def reject(self, url: str) -> None:
        """Raises `PageRejected("forgotten")` for a URL that is covered."""
        if self.covers(url):
            raise PageRejected("forgotten")

    def reject_host(self, url: str) -> None:
        """Raises `PageRejected("forgotten")` where the URL's whole host is covered; the URL needs no path."""
        if self._lines and self._covers_host(url):
            raise PageRejected("forgotten")

    def covers_domain(self, domain: str) -> bool:
        return bool(self._key) and self._has(DOMAIN, domain)

    def pseudonym(self, url: str) -> str:
        """Returns what replaces the address of a forgotten page: different for each page, and not readable."""
        return url if url.startswith(PSEUDONYM) else PSEUDONYM + self._hash(PAGE, url_key(url))

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
    """Yields the host and each domain above it; with a port that is not the default one, also each with the port."""
    parts = urlsplit(url_key(url))
    labels = (parts.hostname or "").rstrip(".").split(".")
    for start in range(len(labels)):
        name = ".".join(labels[start:])
        yield name
        if parts.port and parts.port != DEFAULT_PORTS.get(parts.scheme):
            yield f"{name}:{parts.port}"


def parse_domain(text: str) -> str:
    """Returns a domain as users write it in the form that is compared.

    Raises:
        SettingsError: it is none, or so short that it would cover half the web.
    """
    host, colon, port = text.strip().lower().rstrip(".").partition(":")
    host = host if host.isascii() else ascii_host(host)
    if not HOST.fullmatch(host) or (colon and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise SettingsError(f"{text!r} is no domain: give one such as example.org; for a single page take --url.")
    if "." not in host and host != "localhost" and not is_ip_address(host):
        raise SettingsError(f"{text!r} would cover every site below it: give a domain such as example.{host}.")
    return f"{host}:{port}" if colon else host
