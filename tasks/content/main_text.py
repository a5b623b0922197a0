"""Which blocks of a page are its text: those whose weights make them likely, as many as are worth it.

A table of weights, learned from pages with their truth, gives each block a probability (`block_features.py`). The
blocks that are taken are those for which the expected F1 of the page is highest, so that a page with few sure blocks
loses little, and one with many unsure blocks takes not all of them. What one template made is taken or left together
(`block_odds.py`): no post of a thread, no row, no name in a list is missing. What stands on a page twice is taken once.

On an article, the consensus (`consensus.py`) stands as long as it is worth nearly as much: it knows better where an
article ends. What it left out comes back if it is likely, and so do headings, what they lead to, and code
(`completion.py`). In a thread, the lines come back that say who speaks (`speakers.py`). The expected F1 is how sure we
are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tasks.content.block_features import BlockFeatures, block_features
from tasks.content.block_odds import block_odds
from tasks.content.completion import whole_article, with_gaps_filled
from tasks.content.consensus import consensus_blocks
from tasks.content.page_kind import page_kind, page_shape
from tasks.content.speakers import speakers
from tasks.content.text_blocks import HEADINGS, Block, shares_found
from tasks.content.weights import Tables, learned

VERSION = 5  # raise it with every change that can change a text, weights included

STANDS = 0.5  # share of the best choice's worth from which on the consensus stands, on an article
CAUTION = 1.3  # times the expected words of the truth: the higher, the less likely a block may be that is taken
NOTHING = 0.2  # worth of a choice, below which a page has no text
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
    odds = block_odds(seen.blocks, seen.features, tables.blocks)
    once = candidates(seen.blocks, odds, may_repeat=kind in REPEATS)
    sizes = [block.size for block in seen.blocks]
    expected = sum(odds[at] * sizes[at] for at in once)

    def worth(chosen: Sequence[int], caution: float = CAUTION) -> float:
        """Returns the expected F1 of a choice, where caution is 1."""
        taken = sum(sizes[at] for at in chosen)
        return 2 * sum(odds[at] * sizes[at] for at in chosen) / (taken + caution * expected) if taken else 0.0

    best = best_choice(odds, sizes, once)
    consensus = [at for at, block in enumerate(seen.blocks) if block in seen.consensus]
    stands = kind == "article" and consensus and worth(consensus) >= STANDS * worth(best)
    if stands:
        best = whole_article(seen.blocks, odds, consensus, once)
    if worth(best) < NOTHING:
        return MainText([], kind, 0.0)
    confidence = min(1.0, worth(best, caution=1.0))
    # What an article's headings lead to, the consensus has seen; a product's lead to reviews and to other products.
    texts = [] if stands or kind == "product" else once
    best = with_gaps_filled(seen.blocks, odds, best, texts, first=best[0] if stands else 0)
    if kind == "forum":
        best = sorted([*best, *speakers(seen.blocks, best)])
    return MainText([seen.blocks[at] for at in best], kind, round(confidence, 2))


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


def candidates(blocks: Sequence[Block], odds: Sequence[float], *, may_repeat: bool = False) -> list[int]:
    """Returns the places of the blocks; unless they may repeat, of those with one text only that of the likeliest."""
    if may_repeat:
        return list(range(len(blocks)))
    likeliest: dict[tuple[str, ...], int] = {}
    for at, block in enumerate(blocks):
        text = tuple(block.tokens)
        if text not in likeliest or odds[at] > odds[likeliest[text]]:
            likeliest[text] = at
    kept = set(likeliest.values())
    return [
        at for at, block in enumerate(blocks) if at in kept or block.size < REPEATED_WORDS or block.tag in MAY_REPEAT
    ]
