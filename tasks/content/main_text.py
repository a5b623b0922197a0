"""Which blocks of a page are its text: those whose weights make them likely, as many as are worth it.

A table of weights, learned from pages with their truth, gives each block a probability (`block_features.py`). The
blocks that are taken are those for which the expected F1 of the page is highest, so that a page with few sure blocks
loses little, and one with many unsure blocks takes not all of them. What one template made is taken or left together:
no post of a thread, no row, no name in a list is missing. What stands on a page twice is taken once.

On an article, the consensus (`consensus.py`) stands as long as it is worth nearly as much: it knows better where an
article ends. The expected F1 is how sure we are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from tasks.content.block_features import BlockFeatures, block_features
from tasks.content.consensus import consensus_blocks
from tasks.content.page_kind import page_kind, page_shape
from tasks.content.text_blocks import HEADINGS, Block, BlockElement, shares_found
from tasks.content.weights import Tables, learned

VERSION = 4  # raise it with every change that can change a text, weights included

STANDS = 0.5  # share of the best choice's worth from which on the consensus stands, on an article
CAUTION = 1.1  # times the expected words of the truth: above 1, a block must be a little less likely to be taken
NOTHING = 0.2  # worth of a choice, below which a page has no text
LEAST = 1e-6  # probability
REPEATED_WORDS = 5  # a shorter block may stand on a page several times
REPEATS = frozenset(("documentation", "reference", "wiki"))  # kinds of pages that say the same of each of many things
MAY_REPEAT = HEADINGS | {"pre", "td", "th", "dt"}


@dataclass(frozen=True, slots=True)
class MainText:
    """The blocks of a page's text, the page's kind (`page_kind.py`), and how sure the choice is, 0 to 1."""

    blocks: list[Block]
    kind: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the choice rests on."""

    blocks: Sequence[Block]
    consensus: set[Block]
    features: list[BlockFeatures]
    about: list[str]  # the page: names of its claims and its shape


def look_at(
    tree: Any, blocks: Sequence[Block], titles: Sequence[str], claims: Sequence[str], reference: Callable[[bool], str]
) -> Seen:
    """Returns what is seen of a page and its blocks.

    Args:
        tree: the prepared page.
        blocks: all its blocks.
        titles: all titles of the page.
        claims: what it says of its kind (`page_claims`).
        reference: returns trafilatura's text of the page; True asks for its fast run, False for its slow fallbacks.
    """
    shares = cache(lambda fast: shares_found(blocks, reference(fast)))
    chosen = set(consensus_blocks(list(blocks), titles, shares))
    found = shares(True)
    features = block_features(blocks, found, chosen, titles)
    return Seen(blocks, chosen, features, [*claims, *page_shape(tree, blocks, found)])


def main_text(seen: Seen, tables: Tables | None = None) -> MainText:
    """Returns the blocks of the page's text; none where nothing on it is a text."""
    tables = tables or learned()
    kind = page_kind(seen.about, tables)
    once = candidates(seen.blocks, may_repeat=kind in REPEATS)
    odds = together(seen.blocks, probabilities(seen.features, tables.blocks))
    sizes = [block.size for block in seen.blocks]
    expected = sum(odds[at] * sizes[at] for at in once)

    def worth(chosen: Sequence[int]) -> float:
        """Returns the expected F1 of a choice."""
        taken = sum(sizes[at] for at in chosen)
        return 2 * sum(odds[at] * sizes[at] for at in chosen) / (taken + CAUTION * expected) if taken else 0.0

    best = best_choice(odds, sizes, once)
    value = worth(best)
    consensus = [at for at, block in enumerate(seen.blocks) if block in seen.consensus]
    if kind == "article" and consensus and worth(consensus) >= STANDS * value:
        best, value = consensus, worth(consensus)
    if value < NOTHING:
        best = []
    return MainText([seen.blocks[at] for at in best], kind, round(min(1.0, value), 2))


def probabilities(features: Sequence[BlockFeatures], weights: dict[str, float]) -> list[float]:
    """Returns the probability of each block that it belongs to the text. The order of its names does not count."""
    shared: dict[int, float] = {}
    result = []
    for block in features:
        key = id(block.shared)
        if key not in shared:
            shared[key] = math.fsum(filter(None, map(weights.get, block.shared)))
        total = shared[key] + math.fsum(filter(None, map(weights.get, block.own)))
        result.append(1 / (1 + math.exp(-total)))
    return result


def together(blocks: Sequence[Block], odds: Sequence[float]) -> list[float]:
    """Returns one probability for all blocks of a template: that of the mean of their log odds."""
    sums: dict[str, list[float]] = {}
    templates = [_template(block.element) for block in blocks]
    for template, block, probability in zip(templates, blocks, odds, strict=True):
        if block.size:
            bounded = min(max(probability, LEAST), 1 - LEAST)
            sums.setdefault(template, []).append(math.log(bounded / (1 - bounded)))
    means = {template: 1 / (1 + math.exp(-math.fsum(logs) / len(logs))) for template, logs in sums.items()}
    return [means.get(template, 0.0) for template in templates]


def _template(element: BlockElement) -> str:
    """Returns tag and first class of an element and of three around it. Other classes, and those with a digit, say what
    is in one of them: `post-331 post category-recipes`."""
    return "/".join([_label(one.kind) for one in islice(element.upwards(), 4)])


@lru_cache(maxsize=10_000)  # sites repeat their classes on every page
def _label(kind: str) -> str:
    tag, _, classes = kind.partition(".")
    first = next((name for name in classes.split() if not any(map(str.isdigit, name))), "")
    return f"{tag}.{first}"


def best_choice(odds: Sequence[float], sizes: Sequence[int], places: Sequence[int]) -> list[int]:
    """Returns the places of the blocks, in order, whose expected F1 is highest.

    Args:
        odds: the probability of each block; blocks with the same one are taken or left together.
        sizes: the words of each block.
        places: of the blocks that may be taken.
    """
    ranked = sorted((at for at in places if sizes[at]), key=lambda at: -odds[at])
    expected = CAUTION * sum(odds[at] * sizes[at] for at in ranked)
    taken, right, best, number = 0, 0.0, 0.0, 0
    for rank, at in enumerate(ranked, 1):
        taken += sizes[at]
        right += odds[at] * sizes[at]
        value = 2 * right / (taken + expected)
        is_last_of_its_odds = rank == len(ranked) or odds[ranked[rank]] != odds[at]
        if is_last_of_its_odds and value > best:
            best, number = value, rank
    return sorted(ranked[:number])


def candidates(blocks: Sequence[Block], *, may_repeat: bool = False) -> list[int]:
    """Returns the places of the blocks; unless they may repeat, without those whose text stands further up already."""
    if may_repeat:
        return list(range(len(blocks)))
    known = set[tuple[str, ...]]()
    places = []
    for at, block in enumerate(blocks):
        text = tuple(block.tokens)
        if block.size < REPEATED_WORDS or block.tag in MAY_REPEAT or text not in known:
            known.add(text)
            places.append(at)
    return places
