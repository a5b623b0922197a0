"""Where e-mail addresses stand in a text, plain or spelt out against robots."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

LONGEST_LOCAL = 64  # RFC 5321
LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+'&~-")
FIRST_UNSPACED = "\u2e80"  # from here on scripts put no space before an address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_TLD = r"(?:[xX][nN]--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24})"
DOMAIN = re.compile(rf"(?:{_LABEL}\.){{1,8}}{_TLD}(?![A-Za-z0-9@])")
UNICODE_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![^\W_]|@)")

# What stands before and behind an address that is none.
USER_OF_URL = re.compile(r"://(?:[^\s/@]{0,64}:)?$")
REMOTE_PATH = re.compile(r":(?:[/~]|[\w.-]{1,64}/)")  # git and scp
VERSION = re.compile(r"v?\d+\.\d")
# Endings that no domain has: files, units of systemd, attributes in a product of matrices.
NO_TLD = re.compile(
    "png|jpg|jpeg|gif|webp|svg|avif|ico|bmp|js|mjs|css|html|htm|txt|json|xml|yml|yaml|ts|tsx|conf|cfg|log|lua|min|"
    "service|socket|target|timer|mount|slice|scope|device|swap|transpose|reshape|conj|inverse|sum|mean|float|double|"
    "item|cpu|cuda|view|permute|matmul|solve|copy|astype|flatten|ravel|tolist|numpy|detach|norm|max|det|inv|shape|"
    "dtype|values|weight|grad|real|imag|size|dim"
)
KNOWN_TLD = re.compile(
    "com|org|net|edu|gov|mil|int|info|biz|name|io|co|dev|app|me|tv|ai|xyz|online|site|tech|cloud|eu|uk|us|ca|au|nz|"
    "ie|de|at|ch|fr|be|nl|lu|it|es|pt|se|no|dk|fi|is|pl|cz|sk|hu|ro|bg|gr|tr|ru|ua|by|kz|il|sa|ae|in|pk|bd|lk|cn|hk|"
    "tw|jp|kr|sg|my|th|vn|id|ph|za|ng|ke|eg|ma|br|ar|mx|cl|pe|ve|ec|uy|example|test|invalid"
)

_OPEN, _CLOSE = r"[\[({<]", r"[\])}>]"
_AT = rf" {{0,2}}{_OPEN} ?(?:at|ät|@) ?{_CLOSE} {{0,2}}|{_OPEN}a{_CLOSE}|@"
_DOT = rf"\.| {{0,2}}{_OPEN} ?(?:dot|punkt|punto|ponto|point|\.) ?{_CLOSE} {{0,2}}| dot "
_WORD = r"[A-Za-z0-9][\w+-]{0,63}"
# name [at] host.tld, name (at) host (dot) tld, name@host [dot] tld
BRACKETED = re.compile(
    rf"(?<![\w.+-]){_WORD}(?:(?:{_DOT}){_WORD}){{0,4}}(?P<at>{_AT}){_LABEL}(?:(?:{_DOT}){_LABEL}){{0,5}}?(?:{_DOT})"
    rf"(?P<tld>{_TLD})(?!\w|(?:{_DOT})\w)",
    re.IGNORECASE,
)
# name at host dot tld
SPOKEN = re.compile(
    rf"(?<![\w.+-]){_WORD}(?:(?:\.| dot ){_WORD}){{0,4}} at (?P<host>{_LABEL})(?: dot {_LABEL}){{0,4}}? dot "
    r"(?P<tld>[a-z]{2,24})(?!\w| dot )",
    re.IGNORECASE,
)
NO_HOST = frozenset(("the", "a", "an", "this", "that", "every", "each", "one", "some", "any", "which", "same", "polka"))
# name_at_host_dot_tld
JOINED = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}?([_-])at\1(?:[A-Za-z0-9-]{1,63}?\1dot\1){1,5}(?P<tld>[a-z]{2,24})(?!\w|-)",
    re.IGNORECASE,
)
# name @ host.tld
SPACED = re.compile(
    rf"(?<![\w.@])(?P<local>{_WORD}(?:\.{_WORD}){{0,4}}) {{1,2}}@ {{1,2}}(?:{_LABEL}\.){{1,6}}(?P<tld>{_TLD})"
    r"(?![\w@])"
)
NO_LOCAL = re.compile(
    "us|me|it|him|her|them|you|out|up|here|there|is|are|was|live|available|hosted|posted|follow|find|more|now"
)
ESCAPED = re.compile(rf"[A-Za-z0-9][\w.+-]{{0,63}}%40{DOMAIN.pattern}")

# A cheap look for each of the spelt forms; around what it finds, the forms themselves.
BRACKET = re.compile(rf"{_OPEN} ?(?:at|ät|@|a|dot|punkt|punto|ponto|point|\.) ?{_CLOSE}", re.IGNORECASE)
DOT_WORD = re.compile(r"[ _-]dot[ _-]", re.IGNORECASE)
BEFORE, BEHIND = 150, 150  # characters


def find_email_addresses(text: str) -> Iterator[Span]:
    """Yields where they begin and end; spans may overlap."""
    for at in (sign.start() for sign in re.finditer("@", text)):
        if (span := _around(text, at) or _spaced(text, at)) is not None:
            yield span
    for at in (sign.start() for sign in re.finditer("%40", text)):
        if match := ESCAPED.search(text, max(0, at - LONGEST_LOCAL), at + BEHIND):
            yield match.span()
    for anchor in BRACKET.finditer(text):
        for match in BRACKETED.finditer(text, max(0, anchor.start() - BEFORE), anchor.end() + BEHIND):
            if _is_tld(match["tld"]) and (match["at"].lower() != "(a)" or KNOWN_TLD.fullmatch(match["tld"].lower())):
                yield match.span()
    for anchor in DOT_WORD.finditer(text) if not text.isascii() or "dot" in text.lower() else ():
        for form in (SPOKEN, JOINED):
            for match in form.finditer(text, max(0, anchor.start() - BEFORE), anchor.end() + BEHIND):
                host = match.groupdict().get("host") or ""
                if KNOWN_TLD.fullmatch(match["tld"].lower()) and host.lower() not in NO_HOST:
                    yield match.span()


def _around(text: str, at: int) -> Span | None:
    """Returns the span of the address that this @ belongs to."""
    start = _start_of_local(text, at)
    if start == at or text[start - 1 : start] == "@":
        return None  # a handle, a decorator
    end = _end_of_domain(text, at + 1)
    if end is None or USER_OF_URL.search(text, max(0, start - 80), start) or REMOTE_PATH.match(text, end):
        return None
    if text[start:at].lower() in ("git", "hg", "svn") and text[end : end + 1] in (":", "/"):
        return None
    domain = text[at + 1 : end]
    return (start, end) if _is_tld(domain.rpartition(".")[2]) and not VERSION.match(domain) else None


def _start_of_local(text: str, at: int) -> int:
    start, least = at, max(0, at - LONGEST_LOCAL)
    if text[at - 1 : at] == '"':  # "john smith"@example.com
        opened = text.rfind('"', least, at - 1)
        return opened if opened >= 0 and "\n" not in text[opened:at] else at
    while start > least and (text[start - 1] in LOCAL or _joins(text[start - 1])):
        start -= 1
    if start == at:  # a name in a script without spaces
        while start > least and text[start - 1].isalnum():
            start -= 1
    while start < at and text[start] in "'.-&~%+":
        start += 1
    return start


def _joins(sign: str) -> bool:
    """Whether it is a letter beyond ASCII of a script that puts spaces between words."""
    return "\x7f" < sign < FIRST_UNSPACED and sign.isalpha()


def _end_of_domain(text: str, start: int) -> int | None:
    found = DOMAIN.match(text, start)
    if found is None or _joins(text[found.end() : found.end() + 1] or " "):
        found = UNICODE_DOMAIN.match(text, start)
    return found.end() if found else None


def _spaced(text: str, at: int) -> Span | None:
    if text[at - 1 : at] != " " or text[at + 1 : at + 2] != " ":
        return None
    match = SPACED.search(text, max(0, at - LONGEST_LOCAL - 2), at + BEHIND)
    if match is None:
        return None
    local = match["local"].lower()
    is_name = re.search(r"[a-z][._-]?[a-z0-9]", local) is not None and not NO_LOCAL.fullmatch(local)
    sure = KNOWN_TLD.fullmatch(match["tld"].lower()) or re.search("[._-]", local)
    return match.span() if is_name and sure else None


def _is_tld(name: str) -> bool:
    return not NO_TLD.fullmatch(name.lower())
