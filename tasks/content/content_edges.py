"""Removes what is inside an article but not part of its text: headline, asides, link lines, appeals at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from tasks.content.text_blocks import HEADINGS, Block, BlockElement, tokens_of

PARAGRAPH_WORDS = 15  # a paragraph has at least so many words
PARAGRAPH_LINKS = 0.3  # and a smaller share of links
ASIDE = 0.3  # an element with a larger share of the article's words is no aside, whatever its name
SHORT = 40  # a headline or an appeal has fewer words
APPEAL_CHARACTERS = 1000  # of a line, in which an appeal is searched

ASIDE_TAGS = frozenset(("header", "nav", "footer", "aside", "form", "figure", "figcaption"))
ASIDE_NAMES = re.compile(
    r"hidden|\bhide|tooltip|popup|popover|modal|overlay|rollover|dropdown|sr-only|screen-?reader|newsletter|sign-?up"
    r"|(?:^|[ _-])(?:cta|bio)(?:[ _-]|$)|author|byline|related|caption|credit|read-?time|disclaimer"
)
# Names of elements before or after the article.
APART_NAMES = re.compile(r"summary|standfirst|sub-?title|sub-?head|(?:^|[ _-])dek(?:[ _-]|$)|comment|teaser|print")
LABEL = re.compile(r"[^.?!]{2,35}:\s")  # "Read more: ...", in any language
APPEAL = re.compile(
    r"newsletter|\bsign[ -]?up\b|\bsubscrib|\babonnier|\babonnez|\bsuscr[ií]b|\bassine\b|iscriviti|prenumer"
    r"|\bclick here|klicken sie hier|clique aqui|haga clic|cliquez ici|clicca qui|\bfollow\b|\bjoin us\b"
    r"|\breach (?:him|her|them|the)\b|\btip\b|get in touch|\bwrite to\b|\be-?mail (?:him|her|us|[A-Z])"
    r"|facebook|twitter|instagram|youtube|whatsapp|telegram",
    re.IGNORECASE,
)
CREDITS = re.compile(
    r"contributed to (?:this|the) (?:report|story|article)|\b(?:reporting|editing) by\b|\badditional reporting\b",
    re.IGNORECASE,
)


def is_paragraph(block: Block) -> bool:
    return block.size >= PARAGRAPH_WORDS and block.link_share < PARAGRAPH_LINKS and block.tag not in HEADINGS


def is_set_apart(element: BlockElement, above: set[BlockElement]) -> bool:
    """Whether a name or tag of the element, or of an ancestor below `above`, says that it is not the article."""
    for ancestor in element.upwards():
        if ancestor in above:
            return False
        if _is_named_aside(ancestor) or APART_NAMES.search(ancestor.names):
            return True
    return False


def trimmed(blocks: list[Block], root: BlockElement, titles: Iterable[str]) -> list[Block]:
    """Returns the blocks that are part of the article's text.

    Args:
        blocks: the article's blocks, in document order.
        root: the element that holds most of them.
        titles: all titles of the page.
    """
    paragraphs = [block for block in blocks if is_paragraph(block)]
    if not paragraphs:
        return blocks
    first = blocks.index(paragraphs[0])
    is_title, is_aside = _title_test(titles), _aside_test(root, paragraphs)
    kept = []
    for index, block in enumerate(blocks):
        headline = index <= first and block.size < SHORT and (block.tag == "h1" or is_title(block))
        if not (headline or is_aside(block) or _leads_elsewhere(block)):
            kept.append(block)
    while kept and _is_tail(kept[-1]):
        kept.pop()
    return kept


def _title_test(titles: Iterable[str]) -> Callable[[Block], bool]:
    known = ["".join(tokens_of(title)) for title in titles]

    def test(block: Block) -> bool:
        text = "".join(block.tokens)
        if block.tag == "p":  # the first sentence of the article may contain the title
            return text in known
        return len(text) > 5 and any(
            text == title
            or (len(text) > 15 and text in title)
            or (len(title) > 15 and title in text and len(text) < 1.4 * len(title))
            for title in known
        )

    return test


def _is_named_aside(element: BlockElement) -> bool:
    return element.hidden or element.tag in ASIDE_TAGS or ASIDE_NAMES.search(element.names) is not None


def _aside_test(root: BlockElement, paragraphs: list[Block]) -> Callable[[Block], bool]:
    """Returns a test by tag and names of a block's ancestors below the root; most of the article is never an aside."""
    held: dict[BlockElement, int] = {}
    for block in paragraphs:
        for element in block.element.upwards(root):
            held[element] = held.get(element, 0) + block.size
    much = ASIDE * sum(block.size for block in paragraphs)

    @cache
    def is_aside(element: BlockElement) -> bool:
        return any(held.get(one, 0) < much and _is_named_aside(one) for one in element.upwards(root))

    return lambda block: not block.element.quoted and is_aside(block.element)


def _leads_elsewhere(block: Block) -> bool:
    """Whether a block is a line such as `Related: another article`."""
    return block.size >= 5 and block.link_share > 0.5 and block.cell is None and LABEL.match(block.text) is not None


def _is_tail(block: Block) -> bool:
    """Whether a block at the end is a link, a heading without text, an appeal or a credit."""
    if block.element.quoted:
        return False
    if block.tag in HEADINGS or (block.link_share >= PARAGRAPH_LINKS and block.size >= 2):
        return True
    text = block.text[:APPEAL_CHARACTERS]
    stands_out = block.link > 0 or block.strong_share > 0.8
    return block.size < SHORT and bool((stands_out and APPEAL.search(text)) or CREDITS.search(text))
