"""The site's articles: the Python that runs it, its installed packages, the pages of `own_pages.toml`, and chapters of
novels where they are.

No documented module is imported: `ast` reads modules, their metadata describes packages. The same machine therefore
makes the same articles, in the same order, every time.
"""

import ast
import gc
import hashlib
import re
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, Literal

from tasks.demo_site.novels import read_novels

Variant = Literal["plain", "app", "mojibake", "latin1", "flaky", "near_copy", "exact_copy", "short", "empty"]
SECTIONS = {
    "language": "The language",
    "library": "The library",
    "packages": "Packages",
    "notes": "Notes",
    "novels": "Novels",
}
SHORTEST = 800
"""Characters of text below which a module or a package gets no page."""

_OWN_PAGES = Path(__file__).with_name("own_pages.toml")
_SKIPPED = {"test", "tests", "idlelib", "idle_test", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
_LONGEST_SUBTITLE, _LONGEST_SUMMARY = 90, 160
_QUOTED = re.compile(r"(\"{3}|'{3})(.*?)\1", re.DOTALL)
_FIRST_DAY = datetime(2019, 1, 1, 6, tzinfo=UTC)
_DAYS = 2000
"""Dates lie within this many days after the first, all in the past: readers ignore a date in the future."""


@dataclass(frozen=True)
class Part:
    """A part of an article: under its own heading or, with heading "", directly under the title."""

    heading: str
    text: str
    level: int = 2


@dataclass(frozen=True)
class Article:
    """One page before it is rendered."""

    section: str
    slug: str
    title: str
    summary: str
    parts: tuple[Part, ...]
    rights: str
    markdown: bool = False
    variant: Variant = "plain"

    @property
    def path(self) -> str:
        """Returns its address on the site."""
        return f"/{self.section}/{self.slug}"

    @property
    def rank(self) -> str:
        """Returns its sort key in the site: a hash, so that every share of the site holds every kind of page."""
        return hashlib.sha256(self.path.encode()).hexdigest()

    @property
    def published(self) -> datetime:
        """Returns its date, made from its title and not from the clock: an exact copy has its original's date."""
        number = int.from_bytes(hashlib.sha256(self.title.encode()).digest()[:4])
        return _FIRST_DAY + timedelta(days=number % _DAYS, seconds=number // _DAYS % 50_000)


@cache
def all_articles(novels: Path | None = None) -> tuple[Article, ...]:
    """Returns every article this machine can make, in the site's order; takes 1.5 s the first time.

    novels: the file for `read_novels`; NovelsError where it cannot be read.
    """
    found: dict[str, Article] = {}
    for source in (_language, _library, _packages, _notes, partial(_novels, novels)):
        for article in source():
            found.setdefault(article.path, article)  # of two articles with one path the first stays
    return tuple(sorted(found.values(), key=lambda article: article.rank))


def _language() -> Iterator[Article]:
    """One page for each topic of the language reference, as `help("assert")` shows it."""
    for name, text in sorted(topics.items()):
        title, _, body = text.strip().partition("\n")
        body = re.sub(r"\A[*=\-~^]{3,}\n", "", body)
        title = re.sub(r"\s+", " ", title)
        yield Article("language", _slug(name), title, _summary(body), (Part("", body),), "PSF-2.0")


def _library() -> Iterator[Article]:
    """One page for each module of the standard library: its docstrings, in the order of the source."""
    root = Path(sysconfig.get_path("stdlib"))
    with _no_garbage_collection():
        for file in sorted(root.rglob("*.py")):
            inside = file.relative_to(root)
            if _SKIPPED.isdisjoint(inside.parts) and (parts := tuple(_docstrings(file))):
                name = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
                summary = _summary(parts[0].text)
                named = not parts[0].heading and len(summary) < _LONGEST_SUBTITLE
                title = f"{name}: {summary.rstrip('.')}" if named else f"The module {name}"
                yield Article("library", _slug(name), title, summary, parts, "PSF-2.0")


def _docstrings(file: Path) -> Iterator[Part]:
    """Yields the docstrings of one module, or nothing where they are too short for a page."""
    source = file.read_text(encoding="utf-8", errors="replace")
    if sum(len(quoted[2]) for quoted in _QUOTED.finditer(source)) < SHORTEST:  # parsing takes the time
        return
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    parts = [Part("", ast.get_docstring(tree) or ""), *_definitions(tree, "")]
    parts = [part for part in parts if part.text.strip()]
    if sum(len(part.text) for part in parts) > SHORTEST:
        yield from parts


def _definitions(parent: ast.AST, prefix: str) -> Iterator[Part]:
    """Yields the docstrings of classes and functions, also of those in an `if` or a `try`."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + node.name
            if text := ast.get_docstring(node):
                is_class = isinstance(node, ast.ClassDef)
                yield Part(f"class {name}" if is_class else f"{name}()", text, 3 if prefix else 2)
            yield from _definitions(node, name + ".")
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _definitions(node, prefix)


def _packages() -> Iterator[Article]:
    """One page for each installed package: its long description, which is its README."""
    for package in sorted(metadata.distributions(), key=lambda package: (package.name or "").lower()):
        fields = package.metadata.json
        text = str(fields.get("description", "")).strip()
        if package.name and len(text) > SHORTEST:
            markdown = "markdown" in str(fields.get("description_content_type", ""))
            summary = " ".join(str(fields.get("summary", "")).split()) or _summary(text)
            rights = str(fields.get("license_expression") or fields.get("license") or "see the package").strip()
            yield Article(
                "packages",
                _slug(package.name),
                f"{package.name}: {summary}"[:120].rstrip("., "),
                summary,
                (Part("", text),),
                rights.partition("\n")[0][:80],
                markdown,
            )


def _notes() -> Iterator[Article]:
    """Our own few texts."""
    pages = tomllib.loads(_OWN_PAGES.read_text(encoding="utf-8"))
    for slug, page in pages.items():
        text = _own_text(page, pages)
        parts = (Part("", text),) if text else ()
        yield Article("notes", slug, page["title"], _summary(text), parts, "Apache-2.0", variant=page["variant"])


def _novels(file: Path | None) -> Iterator[Article]:
    """One page for each chapter."""
    for title, chapters in read_novels(file) if file else []:
        for number, text in enumerate(chapters, 1):
            slug, heading = _slug(f"{title} {number}"), f"{title}, chapter {number}"
            yield Article("novels", slug, heading, _summary(text), (Part("", text),), "public domain")


def _own_text(page: dict[str, Any], pages: dict[str, Any]) -> str:
    text: str = pages[page["copy_of"]]["text"] if "copy_of" in page else page["text"]
    if changes := page.get("changes"):
        text = re.sub(r"(?<!\n)\n(?!\n)", " ", text)  # a line end must not split a phrase
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
    if page["variant"] == "mojibake":  # the most frequent kind on the web: UTF-8, read as cp1252 and stored again
        typeset = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace("--", "\N{EN DASH}")
        text = typeset.encode().decode("cp1252")
    return text


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")


def _summary(text: str) -> str:
    """Returns the first paragraph on one line, cut at a word; for the meta description and for titles."""
    chunks = re.split(r"\n\s*\n", text.strip())
    line = " ".join(next((chunk for chunk in chunks if re.search(r"[a-z]{2} [a-z]", chunk)), "").split())
    return line if len(line) <= _LONGEST_SUMMARY else line[:_LONGEST_SUMMARY].rpartition(" ")[0] + " ..."


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees hold millions of objects and no garbage: to search them for it doubles the time of parsing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
