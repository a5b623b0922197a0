"""Extraction on our own small pages, by kind: word F1 of ours and trafilatura's, beside the floor.

    python -m benchmarks.floor            # the table
    python -m benchmarks.floor --pages    # page by page
    python -m benchmarks.floor --renew    # write the floors anew, as measured

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
from tasks.extract.text_blocks import tokens_of

PAGES = Path(__file__).resolve().parents[1] / "tests" / "pages"
FLOOR = PAGES / "floor.json"
MARK = re.compile(r'\s+data-truth="(?:yes|no|either)"')
# Any other tag separates words.
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
    between = "" if element.tag in INLINE else "\n"
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
    found: dict[str, float] = json.loads(FLOOR.read_text(encoding="utf-8"))
    return found


def renew(found: dict[str, float]) -> None:
    rounded = {kind: math.floor(f1 * 100) / 100 for kind, f1 in found.items()}
    FLOOR.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", action="store_true", help="show each page")
    parser.add_argument("--renew", action="store_true", help="write the floors anew, as measured")
    options = parser.parse_args()
    found = {tool: scores(tool) for tool in TOOLS}
    means = {tool: by_kind(scored) | {"all": mean(scored.values())} for tool, scored in found.items()}
    if options.renew:
        renew(by_kind(found["ours"]))
    print(f"{'':28}{'floor':>13}" + "".join(f"{tool:>13}" for tool in TOOLS))
    for name in [*(found["ours"] if options.pages else ()), *means["ours"]]:
        floor = floors().get(name)
        row = [found[tool].get(name, means[tool].get(name, 0.0)) for tool in TOOLS]
        print(f"{name:28}{'' if floor is None else f'{floor:.2f}':>13}" + "".join(f"{f1:13.3f}" for f1 in row))


if __name__ == "__main__":
    main()
