"""Finds where a text refers to what is to be forgotten (an address, a host, a raw file, a title), and blanks it out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from tasks.contracts.records import LedgerEntry
from tasks.contracts.urls import site_slug, url_key
from tasks.web.suppression_list import domains_of

BLANK = "[forgotten]"
# As it stands in prose, Markdown, JSON, and JSON within JSON.
ADDRESS = re.compile(r"(?:https?|file)://(?:[^\s\"<>\\]|\\{1,4}u[0-9a-fA-F]{4}){1,4000}", re.IGNORECASE)
ESCAPE = re.compile(r"\\{1,4}u([0-9a-fA-F]{4})")
CLOSING = ".,:;!?)]}'*_`|"  # what may follow an address without being a part of it
RAW_NAME = re.compile(r"\b\d{8}_\d{6}__[^\s\"/\\]{1,80}?__[0-9a-f]{12}__[0-9a-f]{16}")
TITLE_CHARACTERS = 16  # a shorter one, or one of a single word, is no more than a word


class ReferenceMatcher:
    """Built from the ledger lines of the documents and, where a whole domain is forgotten, from its name.

    Args:
        entries: the documents, before their lines become tombstones.
        urls: further addresses.
        domain: with its subdomains, as `suppression_list.parse_domain` gives it.
    """

    def __init__(self, entries: Iterable[LedgerEntry], urls: Iterable[str] = (), domain: str | None = None) -> None:
        self.domain = domain
        self.urls: set[str] = set()  # their keys
        self._names: set[str] = set()
        self._phrases: set[str] = set()
        for url in urls:
            self._add_url(url)
        for entry in entries:
            self._add_url(entry.url)
            self._add_url(entry.final_url)
            self._add_path(PurePosixPath(entry.path))
            title = (entry.title or "").strip()
            if len(title) >= TITLE_CHARACTERS and " " in title:
                self._phrases.add(title)

    def _add_url(self, url: str) -> None:
        self.urls.add(url_key(url))
        parts = urlsplit(url)
        if parts.scheme == "file" and len(parts.path) > 3:
            self._phrases.add(unquote(parts.path))

    def _add_path(self, path: PurePosixPath) -> None:
        if not RAW_NAME.fullmatch(path.stem):
            self._phrases.add(str(path))  # a file that its user dropped under raw/
            return
        self._names.add(path.stem)
        if self.domain:
            self._phrases.add(path.parent.name)  # source_<site>, of which a long site's name is cut short

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and next(self.spans(text), None) is not None

    def is_page(self, url: str) -> bool:
        """Whether this is one of the addresses, or one of the domain's."""
        try:
            return url_key(url) in self.urls or (self.domain is not None and self.domain in domains_of(url))
        except ValueError:
            return False

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yields start and end of each reference, kind by kind; they may overlap."""
        if "://" in text and self.urls:
            yield from self._addresses(text)
        if self._names:
            yield from (found.span() for found in RAW_NAME.finditer(text) if found[0] in self._names)
        for pattern in filter(None, (self._host, self._phrase)):
            yield from (found.span() for found in pattern.finditer(text))

    def cut(self, text: str, *, keep_length: bool = False) -> str:
        """Returns the text without its references; with `keep_length`, as many UTF-8 bytes long as before."""
        kept, position = [], 0
        for start, end in sorted(self.spans(text)):
            if end <= position:
                continue
            kept.append(text[position : max(position, start)])
            gone = text[max(position, start) : end]
            kept.append("*" * len(gone.encode("utf-8", "surrogateescape")) if keep_length else BLANK)
            position = end
        return "".join([*kept, text[position:]])

    def _addresses(self, text: str) -> Iterator[tuple[int, int]]:
        for found in ADDRESS.finditer(text):
            address = found[0]
            while address and not self._is_forgotten(address):
                address = address[:-1] if address[-1] in CLOSING else ""
            if address:
                yield found.start(), found.start() + len(address)

    def _is_forgotten(self, address: str) -> bool:
        try:
            return url_key(ESCAPE.sub(lambda found: chr(int(found[1], 16)), address)) in self.urls
        except ValueError:
            return False

    @cached_property
    def _host(self) -> re.Pattern[str] | None:
        """Matches the domain and its subdomains, as a host or in a raw file name; no part of a longer name."""
        if self.domain is None:
            return None
        forms = {self.domain, site_slug(self.domain)}
        name = "|".join(re.escape(form) for form in sorted(forms))
        below = r"(?<![A-Za-z0-9-])(?:[A-Za-z0-9-]{1,63}\.){0,10}"
        return re.compile(rf"{below}(?:{name})(?![A-Za-z0-9-]|\.[A-Za-z0-9])", re.IGNORECASE)

    @cached_property
    def _phrase(self) -> re.Pattern[str] | None:
        phrases = sorted((phrase for phrase in self._phrases if phrase), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, phrases))) if phrases else None
