"""The main text of a page: what trafilatura found, put back to its place on the page, completed and trimmed there.

trafilatura (Barbaresi 2021) is a witness here. Its words tell which elements of the page hold the article; then the
page's own structure decides:

1. prose that trafilatura found, and prose made by the same template (tag and classes of it and three ancestors);
2. the deepest element that holds most of it; outside, only paragraphs that are plainly the article's count;
3. inside, also quotations, code and headings between the article's paragraphs;
4. without what stands in an article but is not of it (`tasks.extract.content_edges`).

Where trafilatura's fast run found little of the page's prose, its whole cascade is asked too. The thresholds are
round numbers; on real pages the result hardly depends on them (docs/log.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tasks.extract.content_edges import is_paragraph, is_set_apart, trimmed
from tasks.extract.text_blocks import HEADINGS, Block, BlockElement, tokens_of

VERSION = 1  # raise it with every change that can change a text

COVERED = 0.6  # share of a block's word trigrams that the witness must have
PROSE = 10  # words of a block that tells where the article is
LINKED = 0.4  # most of such a block that may be links
TEMPLATE = 0.3  # share of the witness's prose that a template must have made to bring in more of its kind
MAIN = 0.7  # share of the prose that the article's element must hold
LITTLE, MUCH_MORE = 0.2, 5  # of the page's prose, when the whole cascade is asked; when it is believed
# What is never the whole article, though most of its words may be in it.
PARTS = frozenset(("p", "li", "ul", "ol", "dl", "dd", "table", "tbody", "tr", "blockquote", "pre", "figure"))

Trigrams = set[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """The article's blocks, in order, and the element that holds most of them."""

    blocks: list[Block]
    root: BlockElement

    @property
    def prose(self) -> int:
        """Words in paragraphs."""
        return sum(block.size for block in self.blocks if is_paragraph(block))


def main_blocks(blocks: list[Block], titles: Iterable[str], witness: Callable[[bool], str]) -> list[Block]:
    """The blocks of the article; none where the page has no prose to go by.

    Args:
        blocks: all of the page.
        titles: what the page calls itself.
        witness: trafilatura's text of it; True asks for the fast run, False for the whole cascade.
    """
    found = _locate(blocks, witness(True))
    prose = sum({block.text: block.size for block in blocks if is_paragraph(block)}.values())
    if found is None or found.prose < LITTLE * prose:
        other = _locate(blocks, witness(False))
        if other is not None and (found is None or other.prose >= MUCH_MORE * found.prose):
            found = other
    return trimmed(_completed(found, blocks), found.root, titles) if found is not None else []


def as_text(blocks: Iterable[Block]) -> str:
    """A line for each block; list items begin with a hyphen."""
    return "\n".join(f"- {block.text}" if block.tag == "li" else block.text for block in blocks)


def _trigrams(tokens: list[str]) -> Trigrams:
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def _locate(blocks: list[Block], witness: str) -> Found | None:
    """Steps 1 and 2: the article's element, and what of it the witness or its template vouch for."""
    trigrams = {block: _trigrams(block.tokens) for block in blocks}
    seen = _seen(blocks, trigrams, witness)
    telling = [block for block in blocks if block.size >= PROSE and block.link_share < LINKED]
    by_template: dict[str, int] = {}
    for block in telling:
        if block in seen:
            by_template[block.box.template] = by_template.get(block.box.template, 0) + block.size
    enough = TEMPLATE * sum(by_template.values())
    prose = [
        block
        for block in telling
        if block in seen or (not block.box.hidden and by_template.get(block.box.template, 0) > enough)
    ]
    root = _root(prose, trigrams)
    if root is None:
        return None
    vouched = seen | set(prose)
    homes = _homes(root, prose)
    return Found([block for block in blocks if block in vouched and _belongs(block.box, root, homes)], root)


def _seen(blocks: list[Block], trigrams: dict[Block, Trigrams], witness: str) -> set[Block]:
    """What the witness has: most of the trigrams of a block, or a few words as a line of their own."""
    lines = {" ".join(tokens_of(line)) for line in witness.splitlines()}
    words = _trigrams(tokens_of(witness))
    return {
        block
        for block in blocks
        if block.tokens
        and (
            " ".join(block.tokens) in lines
            if len(block.tokens) < 5
            else len(trigrams[block] & words) >= COVERED * len(trigrams[block])
        )
    }


def _root(prose: list[Block], trigrams: dict[Block, Trigrams]) -> BlockElement | None:
    """The deepest box that holds most of the different trigrams (a page may hold its article twice)."""
    held: dict[BlockElement, Trigrams] = {}
    for block in prose:
        for box in block.box.upwards():
            held.setdefault(box, set()).update(trigrams[block])
    enough = MAIN * max(map(len, held.values()), default=0)  # the page's outermost box holds all
    wide = [box for box, words in held.items() if len(words) >= enough]
    best = max(wide, key=lambda box: box.depth, default=None)
    while best is not None and best.tag in PARTS and best.parent is not None:
        best = best.parent
    return best


def _homes(root: BlockElement, prose: list[Block]) -> set[BlockElement]:
    """Boxes outside the root that hold a paragraph which is plainly the article's.

    That is one beside the root or one of its ancestors, or one of the same class as most of the paragraphs inside.
    """
    above = set(root.upwards()) - {root}
    kinds: dict[str, int] = {}
    for block in prose:
        if root.holds(block.box):
            kinds[block.box.kind] = kinds.get(block.box.kind, 0) + block.size
    usual = max(kinds, key=lambda kind: kinds[kind], default="")
    homes = set()
    for block in prose:
        parent = block.box.parent
        if parent is None or block.tag != "p" or not is_paragraph(block) or root.holds(block.box):
            continue
        alike = "." in usual and block.box.kind == usual
        if (parent in above or alike) and not is_set_apart(block.box, above):
            homes.add(parent)
    return homes


def _belongs(box: BlockElement, root: BlockElement, homes: set[BlockElement]) -> bool:
    parent = box.parent.parent if box.tag == "li" and box.parent is not None else box.parent
    return root.holds(box) or parent in homes


def _completed(found: Found, blocks: list[Block]) -> list[Block]:
    """Step 3: between the article's first and last paragraph, quotations, code, and headings beside its paragraphs."""
    paragraphs = [block for block in found.blocks if is_paragraph(block)]
    if not paragraphs:
        return found.blocks
    parents = Counter(block.box.parent for block in paragraphs)
    has = set(found.blocks)
    start, stop = blocks.index(paragraphs[0]), blocks.index(paragraphs[-1])
    for block in blocks[start:stop]:
        beside = block.tag in HEADINGS and parents[block.box.parent] > 1 and block.link_share < 0.5
        if block.tokens and found.root.holds(block.box) and (beside or block.box.quoted or block.tag == "pre"):
            has.add(block)
    return [block for block in blocks if block in has]
