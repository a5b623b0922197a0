"""What a page says about itself: title, date, author, language, licence, robots. Unchecked claims of the page."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from itertools import chain
from typing import Any

from tasks.contracts.addresses import join_web_address
from tasks.web.robots_txt import speaks_to_robots

SURROGATE = re.compile("[\ud800-\udfff]")
MAX_SCRIPT = 500_000  # characters of one JSON-LD script
MAX_VALUES = 20_000  # values read of all JSON-LD scripts together
LONGEST = 500  # characters of a claim
LONGEST_ADDRESS = 2000  # characters
MAX_AUTHORS = 10
TITLES = frozenset(("og:title", "twitter:title", "title", "dc.title", "headline", "parsely-title", "sailthru.title"))
DATES = (  # best first
    *("article:published_time", "datepublished", "og:published_time", "parsely-pub-date", "sailthru.date"),
    *("citation_publication_date", "dcterms.created", "dcterms.issued", "dc.date.issued", "dc.date.created"),
    *("dcterms.date", "dc.date", "pubdate", "publish-date", "publishdate", "publication_date", "date"),
)
AUTHORS = ("author", "article:author", "parsely-author", "sailthru.author", "citation_author", "dc.creator", "byl")
LICENCES = ("license", "licence", "dcterms.license", "dc.license", "dc.rights.license", "cc:license")
RIGHTS = (*LICENCES, "dcterms.rights", "dc.rights", "rights", "copyright")
LANGUAGE = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{2,8}){0,3})")
CREATIVE_COMMONS = re.compile(r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/[\w.+/-]{1,60}", re.I)
PICTURE = re.compile("Image|Video|Audio|Media")
BY = re.compile(r"^\s*(?:by|von|par|por|di|af|av|door)[\s:]+", re.IGNORECASE)
NUMERIC_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")


@dataclass(slots=True)
class PageMetadata:
    """The claims of a page; None where it says nothing."""

    title: str | None = None
    titles: tuple[str, ...] = ()  # all titles in the page's metadata
    published: str | None = None  # ISO 8601, a day or a moment
    author: str | None = None
    language: str | None = None  # BCP 47
    licence: str | None = None  # an address
    rights: str | None = None  # a statement in words
    robots: str = ""  # the robots meta tags for all crawlers or for us


@dataclass(slots=True)
class _Claims:
    """All claims on a page, in document order."""

    metas: dict[str, list[str]] = field(default_factory=dict)  # by name, property or itemprop
    pragmas: dict[str, str] = field(default_factory=dict)  # by http-equiv
    objects: list[dict[str, Any]] = field(default_factory=list)  # of JSON-LD
    title: str = ""
    licences: list[str] = field(default_factory=list)  # of links with rel=license
    commons: list[str] = field(default_factory=list)  # other links to Creative Commons licences
    authors: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)

    def metas_of(self, names: Iterable[str]) -> Iterator[str]:
        return chain.from_iterable(self.metas.get(name, ()) for name in names)

    def structured(self, key: str) -> list[str]:
        """Returns the strings under a key of JSON-LD."""
        return [found for thing in self.objects for found in _named(thing.get(key))]


def read_metadata(tree: Any, url: str) -> PageMetadata:
    """Reads all claims of a page; does not change the tree."""
    claims = _walk(tree)
    headings = ("".join(heading.itertext()) for heading in tree.iter("h1"))
    titles = [*claims.metas_of(sorted(TITLES)), claims.title, *claims.structured("headline")]
    dates = (*claims.metas_of(("article:published_time",)), *claims.structured("datePublished"))
    return PageMetadata(
        title=_first(_text, chain(claims.metas_of(("og:title",)), [claims.title], headings)),
        titles=tuple(dict.fromkeys(filter(None, map(_text, titles)))),
        published=_first(iso_date, (*dates, *claims.metas_of(DATES), *claims.times)),
        author=_author(claims),
        language=_first(_language_tag, _languages(tree, claims)),
        licence=_licence(claims, url),
        rights=_first(_text, claims.metas_of(RIGHTS)),
        robots=meta_robots(tree),
    )


def _first(read: Callable[[str], str | None], values: Iterable[str]) -> str | None:
    """Returns the first value that `read` can make something of."""
    return next(filter(None, map(read, values)), None)


def _walk(tree: Any) -> _Claims:
    claims = _Claims()
    budget = [MAX_VALUES]
    for element in tree.iter("meta", "title", "script", "link", "a", "area", "time"):
        tag = element.tag
        if tag == "meta":
            _read_meta(element, claims)
        elif tag == "title":
            claims.title = claims.title or _text(element.text or "")
        elif tag == "script":
            if "ld+json" in (element.get("type") or "").lower():
                claims.objects += _objects(element.text or "", budget)
        elif tag == "time":
            claims.times += [element.get("datetime") or ""]
        else:
            _read_link(element, claims)
    return claims


def _read_meta(element: Any, claims: _Claims) -> None:
    content = element.get("content") or ""
    for attribute in ("property", "name", "itemprop"):
        if name := element.get(attribute):
            claims.metas.setdefault(name.strip().lower(), []).append(content)
    if pragma := element.get("http-equiv"):
        claims.pragmas.setdefault(pragma.strip().lower(), content)


def _read_link(element: Any, claims: _Claims) -> None:
    kinds = (element.get("rel") or "").lower().split()
    address = (element.get("href") or "").strip()
    if "license" in kinds or element.get("itemprop") == "license":
        claims.licences.append(address)
    elif element.tag == "a" and CREATIVE_COMMONS.match(address):
        claims.commons.append(address)
    if "author" in kinds and element.tag == "a" and len(claims.authors) < MAX_AUTHORS:
        claims.authors.append("".join(element.itertext())[:LONGEST])


def _objects(script: str, budget: list[int]) -> Iterator[dict[str, Any]]:
    """Yields every object in a JSON-LD script, outer ones first, until the budget is used up."""
    if len(script) > MAX_SCRIPT:
        return
    try:
        waiting: deque[Any] = deque([json.loads(script)])
    except (ValueError, RecursionError):
        return
    while waiting and budget[0] > 0:
        budget[0] -= 1
        value = waiting.popleft()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _named(value: Any, *keys: str) -> list[str]:
    """Returns the strings in a JSON-LD value: itself, or the first of `keys` that an object has."""
    values = value if isinstance(value, list) else [value]
    names = (next((one[key] for key in keys if one.get(key)), None) if isinstance(one, dict) else one for one in values)
    return [name for name in names if isinstance(name, str)]


def _text(value: str) -> str:
    return SURROGATE.sub("\ufffd", " ".join(value.split()))[:LONGEST]


def iso_date(value: str) -> str | None:
    """Returns a date as pages write it (ISO 8601, RFC 5322, 2024/3/9) in ISO 8601; None if it is not plausible."""
    value = value.strip()[:64]
    try:
        moment = datetime.fromisoformat(value)
        found: date = moment.date() if len(value) <= len("2024-03-09") else moment
    except ValueError:
        try:
            found = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            numbers = NUMERIC_DATE.match(value)
            try:
                found = date(*map(int, numbers.groups())) if numbers else date.min
            except ValueError:
                return None
    return found.isoformat() if 1990 <= found.year <= 2100 else None


def _author(claims: _Claims) -> str | None:
    # Outer objects come first, so the article's author comes before those of its comments.
    structured = [_named(thing.get("author"), "name") for thing in claims.objects]
    for source in (*structured, claims.metas_of(AUTHORS), claims.authors):
        names = dict.fromkeys(name for value in source if (name := _person(value)))
        if names:
            return _text(", ".join([*names][:MAX_AUTHORS]))
    return None


def _person(value: str) -> str | None:
    """Returns the name of a person; None for an address, a handle or a sentence."""
    name = BY.sub("", _text(value)).strip(" ,;|-")
    if not 2 <= len(name) <= 100 or "/" in name or "@" in name or not any(map(str.isalpha, name)):
        return None
    return name


def _languages(tree: Any, claims: _Claims) -> list[str]:
    root = next(tree.iter("html"), None)
    own = [] if root is None else [root.get("lang"), root.get("xml:lang")]
    claimed = [*own, claims.pragmas.get("content-language"), *claims.metas_of(("language", "dc.language"))]
    return [value or "" for value in (*claimed, *claims.structured("inLanguage"), *claims.metas_of(("og:locale",)))]


def _language_tag(value: str) -> str | None:
    found = LANGUAGE.fullmatch(value.partition(",")[0].strip())
    return found[1].lower() + found[2].replace("_", "-") if found else None


def _licence(claims: _Claims, url: str) -> str | None:
    """Returns the licence that the page names for itself; other links to Creative Commons count if they all agree."""
    # A picture's licence is not the page's.
    pages = (thing for thing in claims.objects if not PICTURE.search(str(thing.get("@type"))))
    structured = [found for thing in pages for found in _named(thing.get("license"), "url", "@id")]
    absolute = (term for term in (*claims.metas_of(LICENCES), *structured) if term.strip().startswith("http"))
    if found := _first(lambda address: web_address(url, address), (*claims.licences, *absolute)):
        return found
    if named := next(filter(None, map(CREATIVE_COMMONS.search, claims.metas_of(RIGHTS))), None):
        return named[0]
    agreed = {address.partition("deed")[0].rstrip("/").lower() for address in claims.commons}
    return web_address(url, claims.commons[0]) if len(agreed) == 1 else None


def web_address(base: str, address: str) -> str | None:
    """Returns an absolute http or https address without fragment; None for everything else, such as words."""
    address = address.strip()
    return link_address(base, address) if address and " " not in address else None


def link_address(base: str, href: str, codec: str = "utf-8") -> str | None:
    """Returns where a link leads, as `join_web_address` reads it; None if it is too long. `codec` is the page's."""
    found = join_web_address(base, href, codec) if len(href) <= LONGEST_ADDRESS else None
    return SURROGATE.sub("\ufffd", found) if found else None


def meta_robots(tree: Any) -> str:
    """Returns all robots meta tags for all crawlers or for us, in lower case."""
    tags = ((tag.get("name") or "", tag.get("content") or "") for tag in tree.iter("meta"))
    return ", ".join(content.strip().lower() for name, content in tags if speaks_to_robots(name))
