"""What a page says about itself: title, date, author, language, licence, robots. Claims, as they stand there."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tasks.contracts.addresses import join_web_address

SURROGATE = re.compile("[\ud800-\udfff]")
MAX_SCRIPT = 500_000  # characters of one JSON-LD script
MAX_VALUES = 20_000  # values looked at in all of them
LONGEST = 500  # characters of a claim
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
    """None where the page says nothing."""

    title: str | None = None
    titles: tuple[str, ...] = ()  # every name that the page gives itself
    published: str | None = None  # ISO 8601, a day or a moment
    author: str | None = None
    language: str | None = None  # BCP 47
    licence: str | None = None  # an address
    rights: str | None = None  # a statement in words
    robots: str = ""  # the robots meta tags that concern us


@dataclass(slots=True)
class _Claims:
    """All that one walk over the page has found."""

    metas: dict[str, list[str]] = field(default_factory=dict)
    pragmas: dict[str, str] = field(default_factory=dict)
    objects: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    licences: list[str] = field(default_factory=list)
    commons: list[str] = field(default_factory=list)
    authors: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)

    def first(self, names: tuple[str, ...]) -> Iterator[str]:
        for name in names:
            yield from self.metas.get(name, ())


def read_metadata(tree: Any, url: str) -> PageMetadata:
    """One walk over the tree, which is only read."""
    claims = _walk(tree)
    headlines = [_text(found) for thing in claims.objects for found in _strings(thing.get("headline"))]
    names = [*(_text(value) for name in sorted(TITLES) for value in claims.metas.get(name, ())), claims.title]
    return PageMetadata(
        title=_title(tree, claims),
        titles=tuple(dict.fromkeys(name for name in (*names, *headlines) if name)),
        published=_published(claims),
        author=_author(claims),
        language=_language(tree, claims),
        licence=_licence(claims, url),
        rights=next((found for value in claims.first(RIGHTS) if (found := _text(value))), None),
        robots=meta_robots(tree),
    )


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
    """Every object in a JSON-LD script, outer ones first, until the budget is spent."""
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


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [found for found in values if isinstance(found, str)]


def _named(value: Any, *keys: str) -> list[str]:
    """The strings that a value of JSON-LD stands for: itself, or what objects call themselves."""
    values = value if isinstance(value, list) else [value]
    names = (next((one[key] for key in keys if one.get(key)), None) if isinstance(one, dict) else one for one in values)
    return [name for name in names if isinstance(name, str)]


def _text(value: str) -> str:
    return SURROGATE.sub("\ufffd", " ".join(value.split()))[:LONGEST]


def _title(tree: Any, claims: _Claims) -> str | None:
    for value in (*claims.metas.get("og:title", ()), claims.title):
        if title := _text(value):
            return title
    for heading in tree.iter("h1"):
        if title := _text("".join(heading.itertext())):
            return title
    return None


def _published(claims: _Claims) -> str | None:
    structured = [found for thing in claims.objects for found in _strings(thing.get("datePublished"))]
    for value in (*claims.metas.get("article:published_time", ()), *structured, *claims.first(DATES), *claims.times):
        if found := iso_date(value):
            return found
    return None


def iso_date(value: str) -> str | None:
    """A date as pages write it (ISO 8601, RFC 5322, 2024/3/9), as ISO 8601; None where it is none, or not plausible."""
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
    # Outer objects come first: the article's author before those of its comments.
    structured = [_named(thing.get("author"), "name") for thing in claims.objects]
    for source in (*structured, claims.first(AUTHORS), claims.authors):
        names = dict.fromkeys(name for value in source if (name := _person(value)))
        if names:
            return _text(", ".join([*names][:MAX_AUTHORS]))
    return None


def _person(value: str) -> str | None:
    """A name; no address, handle or sentence."""
    name = BY.sub("", _text(value)).strip(" ,;|-")
    if not 2 <= len(name) <= 100 or "/" in name or "@" in name or not any(map(str.isalpha, name)):
        return None
    return name


def _language(tree: Any, claims: _Claims) -> str | None:
    root = next(tree.iter("html"), None)
    structured = [found for thing in claims.objects for found in _strings(thing.get("inLanguage"))]
    own = [] if root is None else [root.get("lang"), root.get("xml:lang")]
    said = [*own, claims.pragmas.get("content-language"), *claims.first(("language", "dc.language"))]
    for value in (*said, *structured, *claims.metas.get("og:locale", ())):
        found = LANGUAGE.fullmatch((value or "").split(",")[0].strip())
        if found:
            return found[1].lower() + found[2].replace("_", "-")
    return None


def _licence(claims: _Claims, url: str) -> str | None:
    """The licence that the page names for itself; Creative Commons links alone count where they all agree."""
    # A picture's licence is not the page's.
    pages = (thing for thing in claims.objects if not PICTURE.search(str(thing.get("@type"))))
    structured = [found for thing in pages for found in _named(thing.get("license"), "url", "@id")]
    absolute = (term for term in (*claims.first(LICENCES), *structured) if term.strip().startswith("http"))
    for address in (*claims.licences, *absolute):
        if found := web_address(url, address):
            return found
    for said in claims.first(RIGHTS):
        if named := CREATIVE_COMMONS.search(said):
            return named[0]
    agreed = {address.partition("deed")[0].rstrip("/").lower() for address in claims.commons}
    return web_address(url, claims.commons[0]) if len(agreed) == 1 else None


def web_address(base: str, address: str) -> str | None:
    """Absolute, http or https, without fragment; None for everything else, words included."""
    address = address.strip()
    if not address or " " in address or len(address) > 2000:
        return None
    found = join_web_address(base, address)
    return SURROGATE.sub("\ufffd", found) if found else None


def meta_robots(tree: Any) -> str:
    """All robots meta tags that concern us, as they are written."""
    names = ("robots", "miniature-memory")
    tags = ((tag.get("name") or "", tag.get("content") or "") for tag in tree.iter("meta"))
    return ", ".join(content.strip().lower() for name, content in tags if name.strip().lower() in names)
