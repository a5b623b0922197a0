"""What goes into a child process that extracts, and what comes back. Light: the parent imports no parser for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.extract.metadata import PageMetadata


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file to extract. `links`: whether the page's links are wanted; comparing them is an eighth of the work."""

    path: str
    url: str
    charset: str | None
    media_type: str
    links: bool = True
    consensus: bool = True  # setting extract.consensus


@dataclass(frozen=True, slots=True)
class ExtractedPage:
    """A page's text and what else is known of it. Empty text: none was found."""

    text: str
    extractor: str
    media: str | None = None  # what the body really is, where it is no text
    links: tuple[str, ...] = ()  # absolute, http and https, without fragments, in order, each once
    link_density: float = 0.0  # share of the text's characters that are links on the page
    metadata: PageMetadata = field(default_factory=PageMetadata)
    # Of page, such as documentation: one of article, documentation, reference, forum, wiki, service, listing,
    # collection and product, or empty where nobody can tell.
    kind: str = ""
    confidence: float = 1.0  # 0 to 1, two decimals: how sure the extractor is of this text
