"""What counts as a web address, an IP address, an endpoint of this machine: one answer for every room."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from tasks.contracts.credentials import without_user

CONTROLS_AND_SPACE = "".join(map(chr, range(0x21)))
IN_BRACKETS = re.compile(r"(?:[^\[\]@]*@)?\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
NOT_IN_HOST = re.compile(r"[\0-\x20\x7f-\xa0#/:?@]")
LINE_BREAKS = re.compile(r"[\t\n\r]")
SCHEME = re.compile(r"(https?):([/\\]*)", re.IGNORECASE)
# Most addresses: nothing in them has more than one way to be written.
PLAIN = re.compile(r"https?://[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?:/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*)?)+")
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
STAY_IN_QUERY = "!$()*+,-./:=?@[\\]^_`{|}~"  # of the bytes that a legacy encoding may use


def is_web_address(url: str) -> bool:
    """Whether a URL is absolute, http or https, with a host and a possible port, and can be written in UTF-8.

    Every other function of addresses takes what passes here; nothing that a stranger wrote goes further without it.
    """
    try:
        url.encode()
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and parts.port != 0 and _is_host(parts)
    except ValueError:  # an impossible port or IPv6 address, half a character
        return False


def _is_host(parts: SplitResult) -> bool:
    """Whether all readers of an address take the same for its host."""
    if "\\" in parts.netloc:
        return False
    if "[" in parts.netloc or "]" in parts.netloc:  # urlsplit lets anything stand in, before and behind the brackets
        return bool(IN_BRACKETS.fullmatch(parts.netloc)) and is_ip_address(parts.hostname or "")
    host = unicodedata.normalize("NFKC", parts.hostname or "")
    return bool(host) and not NOT_IN_HOST.search(host)


def join_web_address(base: str, address: str, codec: str = "utf-8") -> str | None:
    """The absolute http or https address that a page at `base` means, without fragment and user; None for all else.

    Reads it as browsers do (WHATWG URL): around it, white space does not count, nor do line breaks within; backslashes
    before the query are slashes, and too many slashes before the host are two. `codec` is the encoding of the page,
    in which browsers write the query; all else is UTF-8.
    """
    address = LINE_BREAKS.sub("", address.strip(CONTROLS_AND_SPACE)).partition("#")[0]
    if PLAIN.fullmatch(address):
        return address
    head, mark, query = address.partition("?")
    try:
        scheme = urlsplit(base).scheme
        if (absolute := SCHEME.match(head)) and (len(absolute[2]) > 1 or absolute[1].lower() != scheme):
            head = f"{absolute[1].lower()}://{head[absolute.end() :]}"
        elif absolute:  # `https:page` is relative to a page that came by https
            head = head[absolute.end(1) + 1 :]
        head = re.sub(r"^//+", "//", head.replace("\\", "/"))
        found = urljoin(base, head + mark + _in_codec(query, codec)).partition("#")[0]
    except ValueError:
        return None
    return without_user(found.replace(" ", "%20")) if is_web_address(found) else None


def _in_codec(query: str, codec: str) -> str:
    """Percent-encodes what is not ASCII, where the codec is another one than UTF-8. What it lacks becomes `&#1234;`."""
    if codec == "utf-8":
        return query
    return NOT_ASCII.sub(lambda run: quote(run[0].encode(codec, "xmlcharrefreplace"), safe=STAY_IN_QUERY), query)


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
