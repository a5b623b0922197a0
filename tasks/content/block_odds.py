"""How likely each block of a page belongs to its text: by its weights, by its likes, and by what stands around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from tasks.content.block_features import BlockFeatures
from tasks.content.text_blocks import Block, BlockElement

LEAST = 1e-6  # probability
# What is written into a text: an item, a cell, a quotation or a piece of code.
INSERTED = frozenset(("li", "ul", "ol", "dl", "dd", "dt", "blockquote", "pre"))
INSERTED |= {"table", "tbody", "thead", "tfoot", "tr", "td", "th"}
AROUND = 0.7  # weight of what stands around it
MOST_WORDS, LEAST_WORDS = 50, 10  # a block counts as one of so many words at most; all around it, at least


def block_odds(blocks: Sequence[Block], features: Sequence[BlockFeatures], weights: dict[str, float]) -> list[float]:
    """Returns the probability of each block that it belongs to the text; 0 of one without words."""
    return with_text_around(blocks, together(blocks, probabilities(features, weights)))


def probabilities(features: Sequence[BlockFeatures], weights: dict[str, float]) -> list[float]:
    """Returns what the weights of each block's names add up to. The order of the names does not count."""
    shared: dict[int, float] = {}
    result = []
    for block in features:
        key = id(block.shared)
        if key not in shared:
            shared[key] = math.fsum(filter(None, map(weights.get, block.shared)))
        result.append(_probability(shared[key] + math.fsum(filter(None, map(weights.get, block.own)))))
    return result


def together(blocks: Sequence[Block], odds: Sequence[float]) -> list[float]:
    """Returns one probability for all blocks of a template: that of the mean of their log odds."""
    sums: dict[str, list[float]] = {}
    templates = [template(block.element) for block in blocks]
    for name, block, probability in zip(templates, blocks, odds, strict=True):
        if block.size:
            sums.setdefault(name, []).append(_log_odds(probability))
    means = {name: _probability(math.fsum(logs) / len(logs)) for name, logs in sums.items()}
    return [means[name] if block.size else 0.0 for name, block in zip(templates, blocks, strict=True)]


def with_text_around(blocks: Sequence[Block], odds: Sequence[float]) -> list[float]:
    """Returns the probabilities, those of lists, tables, quotations and code drawn to that of the text around them.

    A list in a post has the looks of a menu, but it stands among sentences. The text around it is what stands directly
    in the same element, or in others of its template.
    """
    holders = ["" if (element := holder_of(block)) is None else template(element) for block in blocks]
    inserted = [_is_inserted(block) for block in blocks]
    sums: dict[str, tuple[float, int]] = {}
    for block, holder, is_inserted, probability in zip(blocks, holders, inserted, odds, strict=True):
        if not is_inserted:
            words = min(block.size, MOST_WORDS)
            for name in {holder, template(block.element)}:
                total, counted = sums.get(name, (0.0, 0))
                sums[name] = (total + words * _log_odds(probability), counted + words)

    def drawn(probability: float, holder: str) -> float:
        total, words = sums.get(holder, (0.0, 0))
        if words < LEAST_WORDS:
            return probability
        return _probability((1 - AROUND) * _log_odds(probability) + AROUND * total / words)

    return [
        drawn(probability, holder) if is_inserted and block.size else probability
        for block, holder, is_inserted, probability in zip(blocks, holders, inserted, odds, strict=True)
    ]


def holder_of(block: Block) -> BlockElement | None:
    """Returns the element whose text the block is part of: around its list, table or quotation, if it is in one."""
    element = block.element if block.tag in INSERTED else block.element.parent
    while element is not None and element.tag in INSERTED:
        element = element.parent
    return element


def _is_inserted(block: Block) -> bool:
    parent = block.element.parent
    return block.tag in INSERTED or (parent is not None and parent.tag in INSERTED)


def template(element: BlockElement) -> str:
    """Returns tag and first class of an element and of three around it. Other classes, and those with a digit, say what
    is in one of them: `post-331 post category-recipes`."""
    return "/".join([_label(one.kind) for one in islice(element.upwards(), 4)])


@lru_cache(maxsize=10_000)  # sites repeat their classes on every page
def _label(kind: str) -> str:
    tag, _, classes = kind.partition(".")
    first = next((name for name in classes.split() if not any(map(str.isdigit, name))), "")
    return f"{tag}.{first}"


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, LEAST), 1 - LEAST)
    return math.log(bounded / (1 - bounded))


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))
