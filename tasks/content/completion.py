"""What a choice of blocks still lacks: the rest of an article, headings and what they lead to, code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.content.block_odds import holder_of, template
from tasks.content.text_blocks import HEADINGS, Block, BlockElement

# Probabilities that a block left out of an article by the consensus needs: beside its blocks, in the same element or of
# the same template; elsewhere between the first and the last; outside, in the same article; outside, of their template.
BESIDE, BETWEEN, IN_ARTICLE, OUTSIDE = 0.5, 0.9, 0.9, 0.95
HEADING_WORDS = 25  # at most
LED_TO, LED_TO_WORDS = 0.2, 8  # probability and words, at least, of a text right after a heading
NEAR = 3  # blocks


def whole_article(
    blocks: Sequence[Block], odds: Sequence[float], chosen: Sequence[int], places: Sequence[int]
) -> list[int]:
    """Returns the consensus on an article and the likely blocks that it left out, in order.

    Args:
        blocks: all blocks of the page.
        odds: the probability of each.
        chosen: places of the consensus, in order.
        places: of the blocks that may be taken.
    """
    beside = {holder_of(blocks[at]) for at in chosen}
    templates = {template(blocks[at].element) for at in chosen}
    article = _article_around([blocks[at].element for at in chosen])
    taken = set(chosen)
    for at in places:
        block = blocks[at]
        alike = template(block.element) in templates
        if chosen[0] < at < chosen[-1]:
            needed = BESIDE if alike or holder_of(block) in beside else BETWEEN
        elif article is not None and article.holds(block.element):
            needed = IN_ARTICLE
        else:
            needed = OUTSIDE if alike else 1.0
        if odds[at] >= needed:
            taken.add(at)
    return sorted(taken)


def _article_around(elements: Sequence[BlockElement]) -> BlockElement | None:
    """Returns the nearest `article` or `main` that holds all elements."""
    around = (element for element in elements[0].upwards() if element.tag in ("article", "main"))
    return next((one for one in around if all(one.holds(element) for element in elements)), None)


def with_gaps_filled(
    blocks: Sequence[Block], odds: Sequence[float], chosen: Sequence[int], texts: Sequence[int], first: int = 0
) -> list[int]:
    """Returns the choice, in order, with the code inside it, the headings of its blocks, and what its headings lead to.

    Args:
        blocks: all blocks of the page.
        odds: the probability of each.
        chosen: places of the choice.
        texts: places of the blocks that may be taken where they follow a heading.
        first: no heading before this place is wanted.
    """
    taken = set(chosen)
    taken |= {at for at in _left_out(blocks, taken) if blocks[at].tag == "pre" and _is_inside(at, taken)}
    taken |= {at for at in texts if at not in taken and odds[at] >= LED_TO and _is_led_to(blocks, at, taken)}
    for at in reversed(list(_left_out(blocks, taken))):
        if at + 1 in taken and at >= first and blocks[at].tag in HEADINGS and blocks[at].size <= HEADING_WORDS:
            taken.add(at)
    return sorted(taken)


def _left_out(blocks: Sequence[Block], taken: set[int]) -> Iterator[int]:
    return (at for at in range(len(blocks)) if at not in taken)


def _is_inside(at: int, taken: set[int]) -> bool:
    return not taken.isdisjoint(range(at - NEAR, at)) and not taken.isdisjoint(range(at + 1, at + 1 + NEAR))


def _is_led_to(blocks: Sequence[Block], at: int, taken: set[int]) -> bool:
    block = blocks[at]
    is_text = block.size >= LED_TO_WORDS and block.link_share < 0.5
    return is_text and at - 1 in taken and blocks[at - 1].tag in HEADINGS
