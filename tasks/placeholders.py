"""Personal data becomes a constant placeholder: e-mail addresses, phone numbers, IP addresses.

What is recognised, and nothing else:

- `[email]`  name@host.tld, also written `name [at] host [dot] tld` with brackets of any kind
- `[phone]`  +CC and 7 to 14 digits in groups; (NNN) NNN-NNNN, NNN-NNN-NNNN, NNN.NNN.NNNN with or without a leading 1;
             national numbers with a leading 0 in three or more groups, or after a word such as "phone", "tel", "fax"
- `[ip]`     IPv4 with an octet above 9 or after a word such as "ip", "address", "host"; IPv6 of three groups or more

Look-alikes stay: versions, ISBNs, dates, prices, hashes, MAC addresses, times, object identifiers. Every pattern is
bounded, and a line without the character that each needs is not searched at all.
"""

from __future__ import annotations

import ipaddress
import re

EMAIL, PHONE, IP = "[email]", "[phone]", "[ip]"

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9._%+/:-])[A-Za-z0-9_][A-Za-z0-9._%+'-]{{0,63}}@(?:{_LABEL}\.){{1,6}}[A-Za-z]{{2,18}}(?![A-Za-z0-9@:]|\.[A-Za-z0-9]|-\w)"
)
_AT, _DOT = r"\s{0,2}[\[({<]\s?at\s?[\])}>]\s{0,2}", r"(?:\.|\s{0,2}[\[({<]\s?(?:dot|punkt)\s?[\])}>]\s{0,2})"
_SPELT_EMAIL = re.compile(rf"(?<![\w.])[\w.+-]{{1,64}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{2,63}}){{1,4}}", re.IGNORECASE)

_END = r"(?![\w]|[.,-]\d)"  # a longer number is something else
_GROUP = r"[ \u00a0.\-/]?"
_INTERNATIONAL = re.compile(
    rf"(?<![\w+.])(?:\+|00(?=[1-9]))[1-9]\d{{0,2}}{_GROUP}(?:\(0?\d{{1,4}}\){_GROUP})?\d(?:{_GROUP}\d){{5,12}}{_END}"
)
_AMERICAN = re.compile(
    r"(?<![\w.+/-])(?:1[ .-])?(?:\([2-9]\d{2}\)[ .-]{0,2}|[2-9]\d{2}([ .-]))[2-9]\d{2}(?(1)\1|[ .-])\d{4}" + _END
)
_NATIONAL = re.compile(
    r"(?<![\w.,/+-])(?:\(0[1-9]\d{0,4}\)|0[1-9]\d{0,4})(?:[ /]\d{2,8}(?:[ -]\d{2,8}){1,4}|(?:[-.]\d{2}){4})" + _END
)
_AFTER_WORD = re.compile(
    r"(?i:(?<!\w)(?:phone|telephone|tel|fax|mobile|cell|call|whatsapp|telefon|t\xe9l\xe9phone|handy)\.?\s{0,2}"
    r"(?:no\.?|number|nr\.?|us(?: at)?|me(?: at)?)?\s{0,2}:?\s{0,2})(\(?\d\)?(?:[ \u00a0./()-]{0,2}\d){6,13})" + _END
)
_ISO_DATE = re.compile(r"(?:19|20)\d{2}[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:0?[1-9]|[12]\d|3[01])")

_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d|-\d)")
_VERSION_BEFORE = re.compile(
    r"(?:\bv|\bversions?|\bver\.?|\brelease[sd]?|\brev\.?|\brevision|\bbuild|\bfirmware|\bsection|\bsec\.?|\bchapter"
    r"|\u00a7|\bfigure|\btable|\boid|\bupdate|==|>=|<=|~=|>|<)\s{0,2}$",
    re.IGNORECASE,
)
_ADDRESS_BEFORE = re.compile(
    r"(?:\bip(?:v4)?|\baddress(?:es)?|\bhosts?|\bserver|\bdns|\bping|\bfrom|\bclient|\bgateway|\bssh|//|@)[ :=]{0,3}$",
    re.I,
)
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:]|\.\d)")


def replace_personal_data(text: str) -> str:
    """The text with each address and number replaced. Works line by line."""
    return "\n".join(_replace_line(line) for line in text.split("\n"))


def _replace_line(line: str) -> str:
    lower = line.lower()
    if "@" in line:
        line = _EMAIL.sub(EMAIL, line)
    if "at" in lower and any(bracket in line for bracket in "[({<"):
        line = _SPELT_EMAIL.sub(EMAIL, line)
    if sum(c.isdigit() for c in line) >= 4:
        line = _replace_numbers(line)
    if line.count(":") >= 2:
        line = _IPV6.sub(_ipv6, line)
    return line


def _replace_numbers(line: str) -> str:
    if line.count(".") >= 3:
        line = _IPV4.sub(_ipv4, line)
    line = _INTERNATIONAL.sub(_phone, line)
    line = _AMERICAN.sub(PHONE, line)
    line = _NATIONAL.sub(_phone, line)
    return _AFTER_WORD.sub(_named_phone, line)


def _phone(match: re.Match[str]) -> str:
    digits = sum(c.isdigit() for c in match[0])
    decimal = re.fullmatch(r"[+\d]\d*\.\d+", match[0])
    return PHONE if 8 <= digits <= 15 and not decimal else match[0]


def _named_phone(match: re.Match[str]) -> str:
    number = match[1]
    if _ISO_DATE.match(number):
        return match[0]
    return match[0][: match.start(1) - match.start()] + PHONE


def _ipv4(match: re.Match[str]) -> str:
    octets = [int(part) for part in match[0].split(".")]
    before = match.string[max(0, match.start() - 24) : match.start()]
    if any(octet > 255 for octet in octets) or _VERSION_BEFORE.search(before):
        return match[0]
    return IP if max(octets) > 9 or _ADDRESS_BEFORE.search(before) else match[0]


def _ipv6(match: re.Match[str]) -> str:
    groups = [group for group in match[0].split(":") if group]
    if len(groups) < 3 or not any(c.isdigit() for c in match[0]):
        return match[0]
    try:
        ipaddress.IPv6Address(match[0])
    except ValueError:
        return match[0]
    return IP
