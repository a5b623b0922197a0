"""Names and passwords that stand in addresses of the profile, as in `https://me:secret@a.example/`.

They are taken out when the profile is read: an address is kept in many places, a password in none. A client puts them
into the requests for the very origin that they were given for.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

USER = re.compile(r"^([a-z][a-z0-9+.-]*://)([^/?#]*)@", re.IGNORECASE)
PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int | None]  # scheme, host, port


def without_user(url: str) -> str:
    """Returns an address without the name and password before its host."""
    return USER.sub(r"\1", url)


def user_of(url: str) -> str:
    """Returns the name and password of an address, as they stand there; "" where there are none."""
    found = USER.match(url)
    return found[2] if found else ""


class Credentials:
    """Which name and password is for which origin. Never shown."""

    def __init__(self, addresses: Iterable[tuple[str, str]] = ()) -> None:
        """`addresses` are those without users, each with its user."""
        self._users = {_origin(url): user for url, user in addresses}

    def authorization(self, url: str) -> dict[str, str]:
        """Returns the header for a request, where its origin has a user (RFC 7617)."""
        user = self._users.get(_origin(url), "") if self._users else ""
        return {"Authorization": f"Basic {b64encode(_decoded(user)).decode()}"} if user else {}

    def address(self, url: str) -> str:
        """Returns an address as a browser needs it: with its user."""
        user = self._users.get(_origin(url), "") if self._users else ""
        return url.replace("://", f"://{user}@", 1) if user else url


def _decoded(user: str) -> bytes:
    name, _, password = user.partition(":")
    return f"{unquote(name)}:{unquote(password)}".encode()


def _origin(url: str) -> Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme)
