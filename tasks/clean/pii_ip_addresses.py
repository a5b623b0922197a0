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
    """Yields where they begin and end, without ports and prefix lengths; spans may overlap."""
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
    largest = max(octets)
    before = text[max(0, start - CONTEXT) : start]
    if (
        largest > 255
        or _in_word(text, start)  # x1.2.3.4
        or before.endswith("+")
        or BEHIND.match(text, match.end())  # 1.2.3.4-beta
        or (before.endswith("-") and not RANGE_BEFORE.search(before))  # name-1.2.3.4
        or VERSION_BEFORE.search(before)  # version 1.2.3.4, numpy>=1.2.3.4
        or PRODUCT_BEFORE.search(before)  # Chrome/120.0.60.99
        or (largest < 100 and SECTION_BEFORE.search(before))  # section 3.2.1.4
    ):
        return False
    heading = HEADING.match(text, match.end())
    if heading and largest < 40 and not before.rpartition("\n")[2].strip():
        return (
            heading[0][0] != "." and heading[0][-1].islower()
        )  # 10.1.2.3 answers; else: 1.2.3.4 Title, 1.2.3.4. Title
    if octets[0] <= 30 and PROGRAM_BEFORE.search(before):  # Linux 5.10.0.8
        return False
    if octets[0] < 150 and BROWSER_BEFORE.search(before):  # Firefox 115.0.1.2
        return False
    if ADDRESS_BEFORE.search(before) or number in WELL_KNOWN or PREFIX_LENGTH.match(text, match.end()):
        return True  # server 1.2.3.4, 8.8.8.8, 1.2.3.0/24
    padded = re.search(r"\b0[0-9]", number)  # 1.234.056.789
    # Small numbers with a small one first are nearly always a version or a section.
    return not padded and octets[0] > 0 and (octets[0] > 9 or largest > 99)


def _is_ipv6(found: str, text: str, start: int, end: int) -> bool:
    address = found.partition("%")[0]
    if "::" not in address and address.count(":") < 6:
        return False  # a time
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    groups = [group for group in address.split(":") if group]
    if "." in address or (0 < len(groups) <= 2 and PREFIX.match(groups[0])):  # ::ffff:192.0.2.128, fe80::1
        return True
    if groups == ["1"]:  # ::1, which is also the end of a slice
        before = text[max(0, start - CONTEXT) : start]
        return before.endswith("//[") or text[end : end + 2] == "]:" or ADDRESS_BEFORE.search(before) is not None
    # Times, ratios, MAC-like names and names of code have short groups, or no digit.
    return len(groups) >= 3 and any(len(group) > 2 for group in groups) and any(c.isdigit() for c in address)
