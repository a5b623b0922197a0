"""Extraction on our own small pages, by kind: word F1 of ours and trafilatura's, beside the floor.

    python -m benchmarks.floor            # the table
    python -m benchmarks.floor --pages    # page by page
    python -m benchmarks.floor --renew    # write the floors anew, as measured; one that sinks needs --reason TEXT

The pages and what counts as their truth: `tests/pages/README.md`. `tests/unit/extract/test_floor.py` holds the floor.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import lxml.html

from benchmarks.extraction import ours, trafilatura_alone
from tasks.content.text_blocks import tokens_of

PAGES = Path(__file__).resolve().parents[1] / "tests" / "pages"
FLOOR = PAGES / "floor.json"
MARK = re.compile(r'\s+data-truth="(?:yes|no|either)"')
# Any other tag separates words, and so does another mark.
INLINE = frozenset(("a", "abbr", "b", "code", "em", "i", "ruby", "span", "strong", "sub", "sup"))
Words = Counter[str]
TOOLS: dict[str, Callable[[bytes, str], str]] = {
    "ours": ours,
    "trafilatura": trafilatura_alone,
    "no comments": partial(trafilatura_alone, include_comments=False),
}


@dataclass(frozen=True, slots=True)
class Page:
    name: str  # kind/file
    body: bytes  # without the marks
    wanted: Words
    either: Words  # right with them and without

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]

    def score(self, text: str) -> float:
        """Returns the F1 of the words, as bags."""
        found = words(text)
        shared, missing = (found & self.wanted).total(), (self.wanted - found).total()
        extra = (found - self.wanted - self.either).total()
        return 2 * shared / (2 * shared + missing + extra)


def words(text: str) -> Words:
    return Counter(tokens_of(text))


def read_marked(path: Path) -> Page:
    source = path.read_text(encoding="utf-8")
    texts: dict[str, list[str]] = {"yes": [], "no": [], "either": []}
    _collect(lxml.html.document_fromstring(source.encode(), lxml.html.HTMLParser(encoding="utf-8")), "no", texts)
    return Page(
        f"{path.parent.name}/{path.stem}",
        MARK.sub("", source).encode(),
        words("".join(texts["yes"])),
        words("".join(texts["either"])),
    )


def _collect(element: Any, mark: str, texts: dict[str, list[str]]) -> None:
    """Adds the text of an element to the texts of the nearest mark around it."""
    around, mark = mark, element.get("data-truth", mark)
    between = "" if element.tag in INLINE and mark == around else "\n"
    texts[mark].append(between + (element.text or ""))
    for child in element:
        if isinstance(child.tag, str):
            _collect(child, mark, texts)
        else:
            texts[mark].append(child.tail or "")
    texts[around].append(between + (element.tail or ""))


@cache
def marked_pages() -> tuple[Page, ...]:
    return tuple(read_marked(path) for path in sorted(PAGES.glob("*/*.html")))


def scores(tool: str = "ours") -> dict[str, float]:
    """Returns the F1 of each page."""
    return {page.name: page.score(TOOLS[tool](page.body, "https://www.example.org/page")) for page in marked_pages()}


def by_kind(scored: dict[str, float]) -> dict[str, float]:
    """Returns the means over the pages of a kind."""
    kinds = sorted({name.partition("/")[0] for name in scored})
    return {kind: mean(f1 for name, f1 in scored.items() if name.startswith(f"{kind}/")) for kind in kinds}


def floors() -> dict[str, float]:
    found: dict[str, float] = json.loads(FLOOR.read_text(encoding="utf-8"))["f1"]
    return found


def renew(measured: dict[str, float], reason: str, file: Path = FLOOR) -> None:
    """Writes the floors as measured, rounded down; one that sinks needs a reason, which stays in the file."""
    old = json.loads(file.read_text(encoding="utf-8"))
    new = {kind: math.floor(f1 * 100) / 100 for kind, f1 in measured.items()}
    sunk = [f"{kind} {old['f1'][kind]} -> {f1}" for kind, f1 in new.items() if f1 < old["f1"].get(kind, 0.0)]
    if sunk and not reason:
        raise ValueError(f"a floor sinks ({', '.join(sunk)}): say why, with --reason")
    lowered = [*old["lowered"], *(f"{one}: {reason}" for one in sunk)]
    file.write_text(json.dumps({"f1": new, "lowered": lowered}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="show each page")
    parser.add_argument("--renew", action="store_true", help="write the floors anew, as measured")
    parser.add_argument("--reason", default="", help="why a floor sinks")
    options = parser.parse_args()
    by_page = {tool: scores(tool) for tool in TOOLS}
    table = {tool: by_kind(found) | {"all": mean(found.values())} for tool, found in by_page.items()}
    if options.renew:
        renew(by_kind(by_page["ours"]), options.reason)
    if options.pages:
        table = {tool: by_page[tool] | means for tool, means in table.items()}
    print(f"{'':28}{'floor':>13}" + "".join(f"{tool:>13}" for tool in TOOLS))
    for name in table["ours"]:
        print(f"{name:28}{floors().get(name, ''):>13}" + "".join(f"{table[tool][name]:13.3f}" for tool in TOOLS))


if __name__ == "__main__":
    main()
