"""Where IP addresses stand in a text. Version numbers, times, MAC addresses and names of code look like them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Span = tuple[int, int]

IPV4 = re.compile(r"[0-9][0-9]{0,2}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![A-Za-z0-9_]|\.[0-9a-z])")
# 10.0.0.10-10.0.0.20 and 10.0.0.10-20 are ranges, 1.2.3.40-beta and 1.2.3.40-5-g1a2b are versions.
BEHIND = re.compile(r"-(?!(?:[0-9]{1,3}\.){3}[0-9]|[0-9]{1,3}(?![\w.-]))\w")
PREFIX_LENGTH = re.compile(r"/[0-9]{1,2}(?![\w/.])")
RANGE_BEFORE = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}-$")
VERSION_BEFORE = re.compile(
    r"(?:\b(?:v|versions?|ver|vers|release[sd]?|rev|revision|build|firmware|oid|update|patch|upgrade|bios|driver)\.?"
    r"|==|~=|!=|\^|[\w\]] ?(?:[<>]=?))[ :(]{0,2}$",
    re.IGNORECASE,
)
# What has sections, or versions that are not called so: their numbers are smaller than those of most addresses.
SECTION_BEFORE = re.compile(
    r"(?:\b(?:sections?|sec|chapter|clause|article|appendix|figure|fig|table|abschnitt|kapitel|chapitre|sección"
    r"|capítulo|sezione|capitolo|hoofdstuk|rozdział|раздел|глава)\.?|§)[ :(]{0,2}$",
    re.IGNORECASE,
)
HEADING = re.compile(r"\.? {1,3}[^\W\d_]|\.\n")  # behind a number at the beginning of a line
PROGRAM_BEFORE = re.compile(
    r"\b(?:kernel|linux|windows|android|ios|macos|office|java|jdk|jre|python|php|mysql|oracle|sdk|api|plugin|app|package"
    r"|library|tag)[ :(]{0,2}$",
    re.IGNORECASE,
)
BROWSER_BEFORE = re.compile(r"\b(?:chrome|chromium|firefox|safari|edge|opera)[ :(]{0,2}$", re.IGNORECASE)
ADDRESS_BEFORE = re.compile(
    r"(?:\bip(?:v4|v6)?|\bip-?adresse|\baddress(?:es)?|\badresse|\baddr|\bhosts?|\bservers?|\bdns|\bnameserver|\bping|\bfrom"
    r"|\bclient|\bgateway|\brouter|\btelnet|\bsubnet|\bnetmask|\bpeer|\bsrc|\bdst|\bremote|\blocal|\blocalhost"
    r"|\bloopback|\binet6?|://|@)[ :=(\[]{0,3}$",
    re.IGNORECASE,
)
PRODUCT_BEFORE = re.compile(r"[\w)]/$")  # Chrome/120.0.60.99, as browsers introduce themselves
WELL_KNOWN = frozenset(("8.8.8.8", "8.8.4.4", "9.9.9.9", "0.0.0.0"))

COLONS = re.compile(r":[0-9A-Fa-f]{0,4}:")
HEX = frozenset("0123456789abcdefABCDEF:")
IPV6 = re.compile(
    r"(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f]{0,4})(?:%[A-Za-z0-9_.-]{1,15})?"
    r"(?![A-Za-z0-9_]|:[\w:]|\.[0-9])"
)
PREFIX = re.compile(r"(?:[23][0-9a-f]{3}|fe[89ab][0-9a-f]|f[cd][0-9a-f]{2}|ff0[0-9a-f])$", re.IGNORECASE)
CONTEXT = 24  # characters


def find_ip_addresses(text: str) -> Iterator[Span]:
    """Where they begin and end; spans may overlap. Ports and prefix lengths behind them do not belong to them."""
    for colons in COLONS.finditer(text):
        start = colons.start()
        while start > 0 and colons.start() - start < 40 and text[start - 1] in HEX:
            start -= 1
        match = IPV6.match(text, start)
        if match and not _in_word(text, start) and _is_ipv6(match[0], text, start, match.end()):
            yield match.span()
    for match in IPV4.finditer(text):
        if _is_ipv4(match, text):
            yield match.span()


def _in_word(text: str, start: int) -> bool:
    before = text[start - 1 : start]
    return before.isascii() and (before.isalnum() or before in ("_", "."))


def _is_ipv4(match: re.Match[str], text: str) -> bool:
    start, number = match.start(), match[0]
    octets = [int(part) for part in number.split(".")]
    before = text[max(0, start - CONTEXT) : start]
    if max(octets) > 255 or _in_word(text, start) or before.endswith("+") or BEHIND.match(text, match.end()):
        return False
    if before.endswith("-") and not RANGE_BEFORE.search(before):
        return False
    if VERSION_BEFORE.search(before) or PRODUCT_BEFORE.search(before):
        return False
    if max(octets) < 100 and SECTION_BEFORE.search(before):
        return False
    if max(octets) < 40 and not before.rpartition("\n")[2].strip() and (heading := HEADING.match(text, match.end())):
        return heading[0][0] != "." and heading[0][-1].islower()
    if (octets[0] <= 30 and PROGRAM_BEFORE.search(before)) or (octets[0] < 150 and BROWSER_BEFORE.search(before)):
        return False
    if ADDRESS_BEFORE.search(before) or number in WELL_KNOWN or PREFIX_LENGTH.match(text, match.end()):
        return True
    padded = any(len(part) > 1 and part[0] == "0" for part in number.split("."))  # as in 1.234.056.789
    # Small numbers with a small one first are nearly always a version or a section.
    return not padded and octets[0] > 0 and (octets[0] > 9 or max(octets) > 99)


def _is_ipv6(found: str, text: str, start: int, end: int) -> bool:
    address = found.partition("%")[0]
    if "::" not in address and address.count(":") < 6:
        return False  # a time
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    groups = [group for group in address.split(":") if group]
    if "." in address:
        return True
    if len(groups) <= 2 and groups and PREFIX.match(groups[0]):
        return True
    if groups == ["1"]:  # ::1, which is also the end of a slice
        before = text[max(0, start - CONTEXT) : start]
        return bool(before.endswith("//[") or (text[end : end + 2] == "]:") or ADDRESS_BEFORE.search(before))
    # Times, ratios, MAC-like names and names of code have short groups, or no digit.
    return len(groups) >= 3 and any(len(group) > 2 for group in groups) and any(c.isdigit() for c in address)
