"""Learns the weights of `tasks/content` from pages with their truth, and says how well they do on sites unseen.

    python -m benchmarks.learn_blocks --pages DIR --articles DIR            # five parts by site: each tested once
    python -m benchmarks.learn_blocks --pages DIR --articles DIR --held 2   # two parts are only tested, once
    python -m benchmarks.learn_blocks --pages DIR --articles DIR --write    # learn from all, and write the tables

`--pages`: `truth.jsonl` with `id`, `url`, `kind` and `text` of each page, and `html/<id>.html.gz`. `--articles`: news,
as for `benchmarks.extraction`; they count half. A block is right by the share of its word trigrams in the truth. The
weights are those of a logistic regression with a penalty on their squares, so that what is rare weighs little. The
pages of a site are all in one part. F1 is of words as bags, a mean over pages, beside trafilatura's (without comments),
with the interval of the gain (95 %, pages drawn again 10,000 times).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from tasks.content import weights
from tasks.content.main_text import Seen, candidates, main_text
from tasks.content.text_blocks import Block, tokens_of, trigrams
from tasks.content.weights import Tables
from tasks.extract.encoding import decode
from tasks.extract.metadata import read_metadata
from tasks.extract.worker import parse_page, see, witness_text
from tasks.extract.written_text import written

PARTS = 5
BLOCK_PENALTY, KIND_PENALTY = 3.0, 2.0
BLOCK_SCALE = 1000.0  # what the weights of all blocks' errors add up to, against the penalty
MIN_SITES = 4  # a name seen on fewer is not learned
ARTICLES_COUNT = 0.5
MIN_TRUE_WORDS = 50  # a page with less text counts less
STEPS = 100
RESAMPLES = 10_000
WORD = re.compile(r"\w+")

Bag = Counter[str]


@dataclass
class Example:
    """A page with its truth, and what is seen of it."""

    name: str
    kind: str
    is_article: bool  # of `--articles`
    site: str
    truth: Bag
    seen: Seen
    right: list[float]  # share of each block in the truth
    reference: str

    @property
    def part(self) -> int:
        return int(hashlib.sha256(self.site.encode()).hexdigest(), 16) % PARTS


def read_pages(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / "truth.jsonl").open(encoding="utf-8") as file:
        for page in map(json.loads, file):
            yield page | {"html": str(folder / "html" / f"{page['id']}.html.gz"), "is_article": False}


def read_articles(folder: Path) -> Iterator[dict[str, Any]]:
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    for name, page in truth.items():
        html = str(folder / "html" / f"{name}.html.gz")
        about = {"id": name, "url": page["url"], "text": page["articleBody"], "kind": "article"}
        yield about | {"html": html, "is_article": True}


def site(url: str) -> str:
    """Returns the last two labels of the host, three where the last but one is short, as in `example.co.uk`."""
    labels = (urlsplit(url).hostname or "").split(".")
    return ".".join(labels[-3 if len(labels) > 2 and len(labels[-2]) <= 3 and len(labels[-1]) == 2 else -2 :])


def look(page: dict[str, Any]) -> Example:
    text = decode(gzip.decompress(Path(page["html"]).read_bytes()), None)
    tree = parse_page(text)
    seen = see(tree, text, page["url"], read_metadata(tree, page["url"]).titles)
    return Example(
        page["id"],
        page["kind"],
        page["is_article"],
        site(page["url"]),
        bag(page["text"]),
        seen,
        shares_right(seen.blocks, page["text"]),
        witness_text(parse_page(text), page["url"], fast=False),
    )


def bag(text: str) -> Bag:
    return Counter(WORD.findall(text.lower()))


def f1(found: Bag, true: Bag) -> float:
    if not found or not true:
        return float(not found and not true)
    return 2 * (found & true).total() / (found.total() + true.total())


def shares_right(blocks: Sequence[Block], truth: str) -> list[float]:
    """Returns the share of each block in the truth: of its trigrams, or for shorter ones whether it is a line there."""
    words = tokens_of(truth)
    lines = {" ".join(tokens_of(line)) for line in truth.splitlines()}
    three, pairs, single = trigrams(words), set(pairwise(words)), set(words)

    def share(tokens: list[str]) -> float:
        if len(tokens) >= 3:
            own = trigrams(tokens)
            return len(own & three) / len(own)
        if not tokens or " ".join(tokens) in lines:
            return float(bool(tokens))
        return 0.5 * (tuple(tokens) in pairs if len(tokens) == 2 else tokens[0] in single)

    return [share(block.tokens) for block in blocks]


def minimized(number: int, gradient: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Returns the point of the least loss, by L-BFGS from 0. `gradient` returns a loss and its gradient."""
    point = torch.zeros(number, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([point], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        with torch.no_grad():
            loss, point.grad = gradient(point.detach())
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    return point.detach()


def matrix(rows: list[list[int]], columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a sparse matrix of ones, a row for each list of columns, and its transpose."""
    ends = torch.tensor([0, *map(len, rows)]).cumsum(0)
    places = torch.tensor([place for row in rows for place in row])
    ones = torch.ones(len(places), dtype=torch.float64)
    plain = torch.sparse_csr_tensor(ends, places, ones, (len(rows), columns))
    return plain, plain.to_sparse_coo().t().to_sparse_csr()  # type: ignore[no-untyped-call]


def known_names(named: Sequence[tuple[str, set[str]]]) -> dict[str, int]:
    """Returns the names that enough sites have, numbered. `named`: a site and the names of one page of it."""
    sites = defaultdict[str, set[str]](set)
    for where, names in named:
        for name in names:
            sites[name].add(where)
    return {
        name: number for number, name in enumerate(sorted(n for n, seen in sites.items() if len(seen) >= MIN_SITES))
    }


def learn_blocks(examples: Sequence[Example]) -> dict[str, float]:
    names_of = [
        (one.site, {name for block in one.seen.features for name in (*block.shared, *block.own)}) for one in examples
    ]
    known = known_names(names_of)
    rows, right, count = [], [], []
    for example in examples:
        sizes = [block.size for block in example.seen.blocks]
        true = max(MIN_TRUE_WORDS, sum(size * share for size, share in zip(sizes, example.right, strict=True)))
        for at in candidates(example.seen.blocks, example.right):
            block = example.seen.features[at]
            rows.append([known[name] for name in (*block.shared, *block.own) if name in known])
            right.append(example.right[at])
            count.append(sizes[at] / true * (ARTICLES_COUNT if example.is_article else 1))
    forward, back = matrix(rows, len(known))
    target, weight = torch.tensor(right, dtype=torch.float64), torch.tensor(count, dtype=torch.float64)
    weight *= BLOCK_SCALE / weight.sum()

    def gradient(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total = forward @ point
        loss = (weight * (torch.nn.functional.softplus(total) - target * total)).sum()
        slope = back @ (weight * (torch.sigmoid(total) - target))
        return loss + BLOCK_PENALTY / 2 * point @ point, slope + BLOCK_PENALTY * point

    return dict(zip(known, minimized(len(known), gradient).tolist(), strict=True))


def learn_kinds(examples: Sequence[Example]) -> tuple[tuple[str, ...], weights.Weights]:
    kinds = tuple(sorted({example.kind for example in examples}))
    known = known_names([(example.site, set(example.seen.about)) for example in examples])
    rows = [[known[name] for name in example.seen.about if name in known] for example in examples]
    forward, back = matrix(rows, len(known))
    target = torch.eye(len(kinds), dtype=torch.float64)[[kinds.index(example.kind) for example in examples]]
    weight = torch.tensor([0.3 if example.is_article else 1.0 for example in examples], dtype=torch.float64)[:, None]

    def gradient(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logs = torch.log_softmax(forward @ point.view(-1, len(kinds)), 1)
        loss = -(weight * target * logs).sum() + KIND_PENALTY / 2 * point @ point
        slope = back @ (weight * (logs.exp() - target))
        return loss, slope.reshape(-1) + KIND_PENALTY * point

    table = minimized(len(known) * len(kinds), gradient).view(-1, len(kinds)).tolist()
    return kinds, {name: tuple(row) for name, row in zip(known, table, strict=True)}


def learn(examples: Sequence[Example]) -> Tables:
    kinds, pages = learn_kinds(examples)
    return Tables(learn_blocks(examples), kinds, pages)


def tested(examples: Sequence[Example], tables: Tables) -> dict[str, tuple[float, str, float]]:
    """Returns F1, kind and confidence of each page."""
    result = {}
    for example in examples:
        main = main_text(example.seen, tables)
        result[example.name] = (f1(bag(written(main.blocks)), example.truth), main.kind, main.confidence)
    return result


def report(examples: Sequence[Example], found: dict[str, tuple[float, str, float]]) -> None:
    rows = defaultdict[str, list[tuple[float, float]]](list)
    for example in examples:
        pair = (found[example.name][0], f1(bag(example.reference), example.truth))
        rows["articles" if example.is_article else example.kind].append(pair)
        if not example.is_article:
            rows["all"].append(pair)
    print(f"{'kind':14} pages   ours  trafilatura  gain (95 %)")
    for kind, pairs in sorted(rows.items(), key=lambda row: -len(row[1])):
        ours, theirs = (statistics.mean(values) for values in zip(*pairs, strict=True))
        low, high = interval([one - other for one, other in pairs])
        print(f"{kind:14} {len(pairs):5} {ours:6.3f} {theirs:12.3f}  {ours - theirs:+.3f} ({low:+.3f} to {high:+.3f})")
    right = [example.kind == found[example.name][1] for example in examples if found[example.name][1]]
    print(f"kind said for {len(right)} of {len(examples)}, right for {sum(right)}")
    for low in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        scores = [score for score, _, sure in found.values() if low <= sure < (low + 0.1 if low else 0.2)]
        if scores:
            print(f"confidence from {low}: {len(scores)} pages, F1 {statistics.mean(scores):.3f}")


def interval(gains: Sequence[float]) -> tuple[float, float]:
    draw = random.Random(0)
    means = sorted(statistics.mean(draw.choices(gains, k=len(gains))) for _ in range(RESAMPLES))
    return means[RESAMPLES // 40], means[-RESAMPLES // 40]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--articles", type=Path, required=True)
    parser.add_argument("--held", type=int, default=0, help="number of parts that are only tested")
    parser.add_argument("--write", action="store_true", help="learn from all pages, and write the tables")
    options = parser.parse_args(arguments)
    pages = [*read_pages(options.pages), *read_articles(options.articles)]
    with ProcessPoolExecutor() as pool:
        examples = list(pool.map(look, pages, chunksize=8))
    if options.write:
        tables = learn(examples)
        weights.write_weights(weights.BLOCK_WEIGHTS, ("weight",), {name: (one,) for name, one in tables.blocks.items()})
        weights.write_weights(weights.KIND_WEIGHTS, tables.kinds, tables.pages)
    elif options.held:
        test = [example for example in examples if example.part < options.held]
        report(test, tested(test, learn([example for example in examples if example.part >= options.held])))
    else:
        found: dict[str, tuple[float, str, float]] = {}
        for part in range(PARTS):
            tables = learn([example for example in examples if example.part != part])
            found |= tested([example for example in examples if example.part == part], tables)
        report(examples, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
