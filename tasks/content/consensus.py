"""The main content of a page: the text that trafilatura finds, located in the page's structure, completed, trimmed.

The text of trafilatura (Barbaresi 2021) is a reference: its words show which elements of the page hold the article.
Then the page's own structure decides which blocks belong to the article:

1. prose that is in the reference, and prose from the same template (tag and classes of its element and of three
   ancestors);
2. of these, the blocks inside the root: the deepest element that holds most of them. Outside the root, only paragraphs
   that clearly belong to the article count;
3. inside the root, also quotations, code and headings between the article's paragraphs;
4. without headlines, asides and appeals (`tasks.content.content_edges`).

Where trafilatura's fast run finds little of the page's prose, its slow fallbacks run, too. The thresholds are round
numbers; on real pages the result hardly depends on them (docs/log.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tasks.content.content_edges import is_paragraph, is_set_apart, trimmed
from tasks.content.text_blocks import HEADINGS, Block, BlockElement, Trigrams

COVERED = 0.6  # a block is in the reference if this share of its word trigrams is
PROSE_WORDS = 10  # a block with fewer words is no prose
PROSE_LINKS = 0.4  # a block with a larger share of links is no prose
TEMPLATE = 0.3  # share of the reference's prose from which on a template brings in all of its blocks
MAIN = 0.7  # share of the prose that the root must hold
LITTLE = 0.2  # share of the page's prose below which the slow fallbacks run
MUCH_MORE = 5  # times the prose that they must find to be preferred
# Elements that are never the whole article, even if they hold most of its words.
PARTS = frozenset(("p", "li", "ul", "ol", "dl", "dd", "table", "tbody", "tr", "blockquote", "pre", "figure"))


@dataclass(frozen=True, slots=True)
class Found:
    """The article's blocks, in document order, and its root, the element that holds most of them."""

    blocks: list[Block]
    root: BlockElement

    @property
    def prose(self) -> int:
        """Number of words in paragraphs."""
        return sum(block.size for block in self.blocks if is_paragraph(block))


def consensus_blocks(
    blocks: list[Block], titles: Iterable[str], shares: Callable[[bool], Sequence[float]]
) -> list[Block]:
    """Returns the blocks of the article; none where the page has no prose.

    Args:
        blocks: all blocks of the page.
        titles: all titles of the page.
        shares: returns the share of each block in trafilatura's text of the page (`shares_found`); True asks for its
            fast run, False for its slow fallbacks.
    """
    found = _locate(blocks, shares(True))
    prose = sum({block.text: block.size for block in blocks if is_paragraph(block)}.values())
    if found is None or found.prose < LITTLE * prose:
        other = _locate(blocks, shares(False))
        if other is not None and (found is None or other.prose >= MUCH_MORE * found.prose):
            found = other
    return trimmed(_completed(found, blocks), found.root, titles) if found is not None else []


def _locate(blocks: list[Block], shares: Sequence[float]) -> Found | None:
    """Steps 1 and 2: the blocks in the reference or from the article's templates, and the root that holds them."""
    in_reference = {block for block, share in zip(blocks, shares, strict=True) if share >= COVERED}
    prose = [block for block in blocks if block.size >= PROSE_WORDS and block.link_share < PROSE_LINKS]
    words_by_template = Counter[str]()
    for block in prose:
        if block in in_reference:
            words_by_template[block.element.template] += block.size
    enough = TEMPLATE * words_by_template.total()
    article_prose = [
        block
        for block in prose
        if block in in_reference or (not block.element.hidden and words_by_template[block.element.template] > enough)
    ]
    root = _root(article_prose)
    if root is None:
        return None
    candidates = in_reference | set(article_prose)
    parents = _parents_outside(root, article_prose)
    return Found([block for block in blocks if block in candidates and _belongs(block.element, root, parents)], root)


def _root(prose: list[Block]) -> BlockElement | None:
    """Returns the deepest element with most of the distinct trigrams (a page may have its article twice)."""
    held: dict[BlockElement, Trigrams] = {}
    for block in prose:
        for element in block.element.upwards():
            held.setdefault(element, set()).update(block.trigrams)
    enough = MAIN * max(map(len, held.values()), default=0)  # the outermost element holds all
    wide = [element for element, words in held.items() if len(words) >= enough]
    best = max(wide, key=lambda element: element.depth, default=None)
    while best is not None and best.tag in PARTS and best.parent is not None:
        best = best.parent
    return best


def _parents_outside(root: BlockElement, prose: list[Block]) -> set[BlockElement]:
    """Returns the elements outside the root that hold a paragraph which clearly belongs to the article.

    Such a paragraph is a sibling of the root or of one of its ancestors, or it has the tag and class that most of the
    words inside the root have.
    """
    ancestors = set(root.upwards()) - {root}
    words_by_kind = Counter[str]()
    for block in prose:
        if root.holds(block.element):
            words_by_kind[block.element.kind] += block.size
    usual_kind = max(words_by_kind, key=lambda kind: words_by_kind[kind], default="")
    parents = set()
    for block in prose:
        parent = block.element.parent
        if parent is None or block.tag != "p" or not is_paragraph(block) or root.holds(block.element):
            continue
        has_usual_class = "." in usual_kind and block.element.kind == usual_kind
        if (parent in ancestors or has_usual_class) and not is_set_apart(block.element, ancestors):
            parents.add(parent)
    return parents


def _belongs(element: BlockElement, root: BlockElement, parents_outside: set[BlockElement]) -> bool:
    parent = element.parent.parent if element.tag == "li" and element.parent is not None else element.parent
    return root.holds(element) or parent in parents_outside


def _completed(found: Found, blocks: list[Block]) -> list[Block]:
    """Step 3: adds quotations, code, and headings next to paragraphs, from the first paragraph to the last one."""
    paragraphs = [block for block in found.blocks if is_paragraph(block)]
    if not paragraphs:
        return found.blocks
    parents = Counter(block.element.parent for block in paragraphs)
    chosen = set(found.blocks)
    start, stop = blocks.index(paragraphs[0]), blocks.index(paragraphs[-1])
    for block in blocks[start:stop]:
        is_subheading = block.tag in HEADINGS and parents[block.element.parent] > 1 and block.link_share < 0.5
        if (
            block.tokens
            and found.root.holds(block.element)
            and (is_subheading or block.element.quoted or block.tag == "pre")
        ):
            chosen.add(block)
    return [block for block in blocks if block in chosen]
