"""The patterns of blocklists, one a line, each found in linear time without regular expressions.

    example.org          this domain and all below it
    example.org/path     there, this path and what continues it after a `/`, `?` or `&`
    ads*.example.org     `*` is any run of characters, in the whole host or, with a `/`, in host, path and query
    "word", "two wor*"   words anywhere in the URL, no letter or digit beside them; two or more joined or one sign apart
    !pattern             an exception, of any of these kinds: no list blocks what it matches
    # comment            alone, or after a space

Schemes, ports, user names and fragments are left out of the comparison, letters are compared in lower case, escapes
such as %41 decoded, hosts in their ASCII form. The host of a pattern matches all hosts below it, wildcards or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from urllib.parse import unquote, urlsplit

from tasks.contracts.addresses import is_ip_address

LONGEST_PATTERN = 500  # characters
LONGEST_URL = 2000  # of a longer one the beginning is compared
MAX_CUTS = 32  # of a longer path the first parts and the whole are compared
MAX_WORDS = 4

DOMAIN = re.compile(r"(?:[a-z0-9_-]{1,63}\.){1,126}[a-z0-9-]{2,63}")
LABEL = re.compile(r"[a-z0-9-]{2,63}")
PORT = re.compile(r":\d{1,5}$")
COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
WORD = re.compile(r"[^\W_]+")
PART = re.compile(r"[/?&=:;,@]+")  # a run of words ends here
BETWEEN = frozenset(" -_+.")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a list. `text` is its canonical form, which reports show."""

    kind: str  # "address" (domain or path), "wildcard", "words"
    text: str
    exception: bool = False


def parse_pattern(line: str) -> Pattern | None:
    """Returns the pattern of a line; None for an empty line or a comment.

    Raises:
        ValueError: says what is wrong with the line.
    """
    text = COMMENT.sub("", line).strip().lower()
    if not text:
        return None
    if len(text) > LONGEST_PATTERN:
        raise ValueError(f"longer than {LONGEST_PATTERN} characters")
    if text.startswith("!"):
        pattern = parse_pattern(text[1:])
        if pattern is None or pattern.exception:
            raise ValueError("an exception needs a pattern behind its '!'")
        return Pattern(pattern.kind, pattern.text, exception=True)
    if text.startswith('"'):
        return Pattern("words", _checked_words(text))
    if any(sign.isspace() for sign in text):
        raise ValueError('a space; words are written "in quotes"')
    return _address(text)


def _checked_words(text: str) -> str:
    words = text.strip('"').split()
    if text != f'"{" ".join(words)}"' or not 1 <= len(words) <= MAX_WORDS:
        raise ValueError(f'words are written "one" or "one two", {MAX_WORDS} at most, with one space between them')
    if not all(WORD.fullmatch(word) for word in (*words[:-1], words[-1].removesuffix("*"))):
        raise ValueError("words have letters and digits only, and a * at the end of the last one at most")
    if len("".join(words).removesuffix("*")) < 3:
        raise ValueError("such short words stand in every other URL")
    return text


def _address(text: str) -> Pattern:
    scheme, found, rest = text.partition("://")
    if found and scheme not in ("http", "https"):
        raise ValueError(f"{scheme}:// is never asked; http:// and https:// may be left out")
    host, slash, path = (rest if found else text).partition("/")
    path = unquote(slash + path.partition("#")[0]).lower().rstrip("/")
    below = host.startswith((".", "*."))
    host = host.removeprefix("*").removeprefix(".") if below else host
    host = host if is_ip_address(host) else PORT.sub("", host)
    if "*" in host or "*" in path:
        return Pattern("wildcard", _checked_wildcard(host + path))
    host = ascii_host(host)
    if not (DOMAIN.fullmatch(host) or is_ip_address(host) or host == "localhost" or (below and LABEL.fullmatch(host))):
        raise ValueError(f"{host!r} is no domain")
    return Pattern("address", host + path)


def _checked_wildcard(text: str) -> str:
    if sum(sign.isalnum() for sign in text) < 2:
        raise ValueError("it would stop every URL")
    if not text.isascii() and "/" not in text:
        raise ValueError("hosts have an ASCII form (xn--...): write that one")
    return text


def ascii_host(host: str) -> str:
    """Returns a host as it is sent: lower case, `xn--` for other letters, no brackets, no dot at the end."""
    host = host.strip("[]").rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


class Address:
    """The parts of a URL that patterns are compared with, worked out once for all lists."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url[:LONGEST_URL])
        host = ascii_host(parts.hostname or "")
        query = f"?{parts.query}" if parts.query else ""
        self.rest = unquote(parts.path + query).lower()
        labels = [] if is_ip_address(host) else host.split(".")
        self.hosts = [".".join(labels[start:]) for start in range(len(labels))] or [host]

        self.whole = self.hosts[0] + self.rest

    @cached_property
    def keys(self) -> list[str]:
        """Every domain and path pattern that would match this URL, the longest host first."""
        cuts = [at for at, sign in enumerate(self.rest) if sign in "/?&" and at > 0][:MAX_CUTS]
        ends = dict.fromkeys(["", *(self.rest[:at] for at in cuts), self.rest, self.rest.rstrip("/")])
        return [host + end for host in self.hosts for end in ends]

    @cached_property
    def words(self) -> list[str]:
        """Runs of words with one character between them, joined by spaces: "sex", "sex video", ..."""
        runs = []
        for part in PART.split(self.whole):
            found = list(WORD.finditer(part))
            for first, start in enumerate(found):
                run = start[0]
                runs.append(run)
                for before, after in zip(found[first:], found[first + 1 : first + MAX_WORDS], strict=False):
                    if after.start() != before.end() + 1 or part[before.end()] not in BETWEEN:
                        break
                    run = f"{run} {after[0]}"
                    runs.append(run)
        return runs


class PatternSet:
    """A few thousand patterns of any kind, in memory."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._addresses: set[str] = set()
        self._words: dict[str, str] = {}  # the pattern of each spelling
        self._beginnings: dict[str, str] = {}
        self._wildcards: list[tuple[str, list[str], str]] = []  # pattern, its pieces, the longest of them
        for pattern in patterns:
            if pattern.kind == "address":
                self._addresses.add(pattern.text)
            elif pattern.kind == "wildcard":
                pieces = pattern.text.split("*")
                self._wildcards.append((pattern.text, pieces, max(pieces, key=len)))
            else:
                target = self._beginnings if pattern.text.endswith('*"') else self._words
                target.update(dict.fromkeys(_spellings(pattern.text), pattern.text))
        self._starts = tuple(self._beginnings)

    def find(self, address: Address) -> str | None:
        """Returns the first pattern that matches this URL."""
        if self._addresses and (found := next((key for key in address.keys if key in self._addresses), None)):
            return found
        if self._words or self._starts:
            for run in address.words:
                if run in self._words:
                    return self._words[run]
                if run.startswith(self._starts):
                    return next(text for start, text in self._beginnings.items() if run.startswith(start))
        for text, pieces, longest in self._wildcards:
            if longest in address.whole:  # this fast test rules most patterns out
                rest = address.rest if "/" in text else ""
                if any(matches_glob(host + rest, pieces) for host in address.hosts):
                    return text
        return None


def _spellings(text: str) -> Iterator[str]:
    """`"sex video"` -> sex video, sexvideo."""
    first, *others = text.strip('"*').split()
    for gaps in product((" ", ""), repeat=len(others)):
        yield first + "".join(gap + word for gap, word in zip(gaps, others, strict=True))


def matches_glob(text: str, pieces: list[str]) -> bool:
    """Whether a text consists of the pieces of a pattern, split at its `*`, with anything between them.

    Takes linear time: each piece as early as possible never misses a match.
    """
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return text == first
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for piece in pieces[1:-1]:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
