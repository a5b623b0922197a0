"""robots.txt: which of its groups is for us, and what that group says (RFC 9309).

The one place that decides whose name is ours: here for the groups of robots.txt, and for the names before a directive
in X-Robots-Tag and robots meta tags (`tasks/web/usage_rights.py`).

Protego compares the paths. It would also choose the group, but by a name that occurs anywhere in ours ("a small
personal language model" is a name to it), and it lets a line that the RFC does not know end a group. So it gets the
rules of our group alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from protego import Protego

PRODUCT_TOKEN = "miniature-memory"
TOKEN = re.compile(r"[a-zA-Z_-]+")  # RFC 9309, 2.2.1
LINE_END = re.compile(r"\r\n|\r|\n")
# As lenient as Google's parser and Protego: misspelled names, and a space where the colon should be.
USER_AGENT = frozenset(("user-agent", "useragent", "user agent"))
DISALLOW = frozenset(("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"))
CRAWL_DELAY = frozenset(("crawl-delay", "crawl delay"))
ACCESS = DISALLOW | CRAWL_DELAY | {"allow"}
WITHOUT_COLON = re.compile(r"(user[- ]?agent|allow|d(?:is|iss|ias)all?[oa]w|crawl[- ]delay)[ \t]+(.*)", re.IGNORECASE)
# The lines that end the names of a group. A line of any other name stands in the group and ends nothing (2.2.4).
RULES = DISALLOW | {"allow", "content-usage"}  # the last one: draft-ietf-aipref-attach
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the form `name: value`."""

    number: int  # from 1
    name: str  # in lower case
    value: str  # without a comment
    written: str  # the whole line

    def __str__(self) -> str:
        return f"robots.txt line {self.number}: {self.written[:200]}"


def product_token(user_agent: str) -> str:
    """Returns the name that robots.txt may speak to: `me` for `me/1.0 (+https://a.example)`; empty where there is none.

    What follows the token counts as a version, also in a line of robots.txt: `User-agent: me/1.0` is for `me`.
    """
    found = TOKEN.match(user_agent.strip())
    return found[0].lower() if found else ""


def names_us(name: str, token: str = PRODUCT_TOKEN) -> bool:
    """Whether a name in a line is the product token, with a version or without, in any case."""
    return bool(token) and product_token(name) == token


def speaks_to_robots(name: str) -> bool:
    """Whether a meta tag of this name holds directives for all crawlers or for us."""
    return name.strip().lower() == "robots" or names_us(name)


def decode_robots_txt(body: bytes) -> str:
    """Returns the text, always UTF-8, without a byte order mark. A mark of which a part is missing is one too."""
    for mark in (b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"):
        if body.startswith(mark):
            return body[len(mark) :].decode("utf-8", "replace")
    return body.decode("utf-8", "replace")


class RobotsTxt:
    """The rules of one robots.txt that are for us: those of all groups with our name, else of all groups for `*`."""

    def __init__(self, text: str, user_agent: str = PRODUCT_TOKEN) -> None:
        lines = list(_lines(text))
        self.licenses = [line for line in lines if line.name == "license"]  # of RSL, for all crawlers
        self.group = _our_group(lines, product_token(user_agent))
        self._disallowed = [(line.value, line) for line in self.group if line.name in DISALLOW and line.value]
        rules = [f"{line.name}: {_quoted(line.value)}" for line in self.group if line.name in ACCESS]
        self._rules = Protego.parse("\n".join(("User-agent: *", *rules)))

    @property
    def crawl_delay(self) -> float:
        """The pause between two requests that the group asks for, in seconds."""
        return self._rules.crawl_delay("*") or 0.0

    def allows(self, url: str) -> bool:
        """Whether we may ask for a URL."""
        return self._rules.can_fetch(url, "*")

    def forbidding_line(self, url: str) -> Line | None:
        """Returns the line that forbids a URL: the longest of those that match it."""
        return next(iter(longest_matches(self._disallowed, url)), None)


def longest_matches(lines: Iterable[tuple[str, Line]], url: str) -> list[Line]:
    """Returns the lines whose path is the longest that matches a URL; each comes with its path."""
    matching = [(len(_quoted(path)), line) for path, line in lines if _matches(path, url)]
    longest = max((length for length, _ in matching), default=0)
    return [line for length, line in matching if length == longest]


@lru_cache(maxsize=5_000)
def _pattern(path: str) -> Protego:
    return Protego.parse(f"User-agent: *\nDisallow: {_quoted(path)}")


def _matches(path: str, url: str) -> bool:
    return not _pattern(path).can_fetch(url, "*")


def _quoted(value: str) -> str:
    """Escapes what is not visible ASCII, such as the line ends of Unicode, at which Protego would cut the line."""
    return quote(value, safe=VISIBLE)


def _lines(text: str) -> Iterator[Line]:
    for number, written in enumerate(LINE_END.split(text), 1):
        content = written.partition("#")[0].strip()
        name, colon, value = content.partition(":")
        name = " ".join(name.lower().split())
        known = name in USER_AGENT | RULES | ACCESS
        if not known and (loose := WITHOUT_COLON.fullmatch(content)):
            yield Line(number, " ".join(loose[1].lower().split()), loose[2].strip(), written.strip())
        elif colon and name:
            yield Line(number, name, value.strip(), written.strip())


def _our_group(lines: list[Line], token: str) -> list[Line]:
    """Returns the lines of all groups for us. What is said of use before the first group is for everybody."""
    groups: list[tuple[list[str], list[Line]]] = []
    before: list[Line] = []
    ended = True
    for line in lines:
        if line.name in USER_AGENT:
            if ended:
                groups.append(([], []))
            groups[-1][0].append(line.value)
            ended = False
        elif groups:
            groups[-1][1].append(line)
            ended = ended or line.name in RULES
        elif line.name not in ACCESS:
            before.append(line)
    ours = [body for names, body in groups if any(names_us(name, token) for name in names)]
    for_all = [body for names, body in groups if any(name.split()[:1] == ["*"] for name in names)]
    return [*before, *(line for body in ours or for_all for line in body)]
