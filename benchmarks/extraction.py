"""Main-text extraction on annotated pages: trafilatura's settings against ours, quality and CPU side by side.

    python -m benchmarks.extraction --pages DIR --output benchmarks/results/extraction.json

DIR holds `ground-truth.json` ({page id: {"articleBody": text, "url": address}}) and `html/<page id>.html.gz`. A
page's overlap with its truth is counted over word 4-grams as multisets; precision and recall are means over the pages
that have any, F1 is theirs (the measure of the article extraction benchmark). The gain is resampled over pages, 10,000
times, with a fixed seed. CPU is process time in this process, the tools taking turns page by page, the best of three
rounds. Ours is all that a page costs in the extraction process (decoding, claims and links too); trafilatura's is its
text alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trafilatura

from benchmarks.result import circumstances, write_result
from tasks.content import main_text
from tasks.extract.worker import read_page

Json = dict[str, Any]
Extract = Callable[[bytes, str], str]
Share = tuple[float, float, float]  # of a page's 4-grams: in both texts, found only, true only
WORD = re.compile(r"\w+")
RESAMPLES = 10_000
ROUNDS = 3
PACKAGES = ("trafilatura", "lxml", "charset-normalizer")


def trafilatura_alone(body: bytes, url: str, **settings: Any) -> str:
    return trafilatura.extract(body, url=url, deduplicate=False, **settings) or ""


def ours(body: bytes, url: str, *, consensus: bool = True) -> str:
    return read_page(body, url, None, "text/html", consensus=consensus).text


TRAFILATURA: dict[str, Extract] = {
    "trafilatura": trafilatura_alone,
    "trafilatura, no comments": partial(trafilatura_alone, include_comments=False),
    "trafilatura, precision": partial(trafilatura_alone, include_comments=False, favor_precision=True),
    "trafilatura, recall": partial(trafilatura_alone, include_comments=False, favor_recall=True),
    "trafilatura, fast": partial(trafilatura_alone, include_comments=False, fast=True),
    "trafilatura, no tables": partial(trafilatura_alone, include_comments=False, include_tables=False),
}
OURS: dict[str, Extract] = {"ours": ours, "ours, consensus off": partial(ours, consensus=False)}


def four_grams(text: str) -> Counter[tuple[str, ...]]:
    words = WORD.findall(text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(1, len(words) - 3)) if words)


def share(truth: str, found: str) -> Share:
    true, got = four_grams(truth), four_grams(found)
    both = (true & got).total()
    extra, missing = got.total() - both, true.total() - both
    total = (both + extra + missing) or 1
    return both / total, extra / total, missing / total


def quality(pages: Sequence[Share]) -> tuple[float, float, float]:
    """F1, precision, recall."""
    precision = [both / (both + extra) for both, extra, _ in pages if both + extra]
    recall = [both / (both + missing) for both, _, missing in pages if both + missing]
    p, r = sum(precision) / len(precision), sum(recall) / len(recall)
    return 2 * p * r / (p + r), p, r


def interval(one: Sequence[Share], other: Sequence[Share]) -> tuple[float, float]:
    """95 % of the difference in F1 over resampled pages."""
    generator, number = random.Random(20261122), len(one)
    gains = []
    for _ in range(RESAMPLES):
        drawn = generator.choices(range(number), k=number)
        gains.append(quality([one[i] for i in drawn])[0] - quality([other[i] for i in drawn])[0])
    gains.sort()
    return gains[RESAMPLES // 40], gains[-RESAMPLES // 40 - 1]


def run(pages: list[tuple[bytes, str]]) -> tuple[dict[str, list[str]], dict[str, float]]:
    """All texts and the CPU seconds of each tool."""
    tools = TRAFILATURA | OURS
    texts: dict[str, list[str]] = {name: [] for name in tools}
    rounds: list[dict[str, float]] = []
    for turn in range(ROUNDS):
        spent = dict.fromkeys(tools, 0.0)
        for body, url in pages:
            for name, extract in tools.items():
                started = time.process_time()
                text = extract(body, url)
                spent[name] += time.process_time() - started
                if turn == 0:
                    texts[name].append(text)
        rounds.append(spent)
    return texts, {name: min(spent[name] for spent in rounds) for name in tools}


def measure(folder: Path) -> Json:
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    names = sorted(truth)
    pages = [
        (gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()), truth[name]["url"]) for name in names
    ]
    texts, cpu = run(pages)
    shares = {
        tool: [share(truth[name]["articleBody"], text) for name, text in zip(names, found, strict=True)]
        for tool, found in texts.items()
    }
    scores = {tool: quality(found) for tool, found in shares.items()}
    best = max(TRAFILATURA, key=lambda tool: scores[tool][0])
    low, high = interval(shares["ours"], shares[best])
    return {
        "pages": len(names),
        "blocks_version": main_text.VERSION,
        "tools": {
            tool: {
                **{
                    key: round(value, 4) for key, value in zip(("f1", "precision", "recall"), scores[tool], strict=True)
                },
                "cpu_seconds": round(cpu[tool], 2),
                "cpu_ratio": round(cpu[tool] / cpu[best], 2),
            }
            for tool in texts
        },
        "trafilatura_best": best,
        "gain_over_it": round(scores["ours"][0] - scores[best][0], 4),
        "gain_95_interval": [round(low, 4), round(high, 4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pages", type=Path, required=True, help="folder with ground-truth.json and html/")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    where = circumstances("python -m benchmarks.extraction --pages DIR", PACKAGES)
    write_result(where | measure(arguments.pages), arguments.output)


if __name__ == "__main__":
    main()
