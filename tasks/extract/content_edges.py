"""What stands in an article but is not of it: headline, asides, lines that lead elsewhere, appeals at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from tasks.extract.text_blocks import HEADINGS, Block, BlockElement, tokens_of

LONG = 15  # words of what is certainly a paragraph
HARDLY_LINKED = 0.3  # most of a paragraph that may be links
ASIDE = 0.3  # an element with a larger share of the article's words is no aside, whatever its name
SHORT = 40  # words of a line that may be a headline or an appeal
LOOKED_AT = 1000  # characters of a line that may be an appeal

ASIDE_TAGS = frozenset(("header", "nav", "footer", "aside", "form", "figure", "figcaption"))
ASIDE_NAMES = re.compile(
    r"hidden|\bhide|tooltip|popup|popover|modal|overlay|rollover|dropdown|sr-only|screen-?reader|newsletter|sign-?up"
    r"|(?:^|[ _-])(?:cta|bio)(?:[ _-]|$)|author|byline|related|caption|credit|read-?time|disclaimer"
)
# Of what stands apart from the article, too: what comes before it or after it.
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
    return block.size >= LONG and block.link_share < HARDLY_LINKED and block.tag not in HEADINGS


def is_set_apart(box: BlockElement, above: set[BlockElement]) -> bool:
    """Whether a name or tag of the box, or of what holds it below `above`, says that this is not the article."""
    for passed in box.upwards():
        if passed in above:
            return False
        if _is_named_aside(passed) or APART_NAMES.search(passed.names):
            return True
    return False


def trimmed(blocks: list[Block], root: BlockElement, titles: Iterable[str]) -> list[Block]:
    """The article alone.

    Args:
        blocks: what was found of it, in document order.
        root: the element that holds most of it.
        titles: what the page calls itself.
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
        if block.tag == "p":  # its first sentence may well be the title
            return text in known
        return len(text) > 5 and any(
            text == title
            or (len(text) > 15 and text in title)
            or (len(title) > 15 and title in text and len(text) < 1.4 * len(title))
            for title in known
        )

    return test


def _is_named_aside(box: BlockElement) -> bool:
    return box.hidden or box.tag in ASIDE_TAGS or ASIDE_NAMES.search(box.names) is not None


def _aside_test(root: BlockElement, paragraphs: list[Block]) -> Callable[[Block], bool]:
    """By tag and names of what the block stands in, below the root; most of the article is never an aside."""
    held: dict[BlockElement, int] = {}
    for block in paragraphs:
        for box in block.box.upwards(root):
            held[box] = held.get(box, 0) + block.size
    much = ASIDE * sum(block.size for block in paragraphs)

    @cache
    def is_aside(box: BlockElement) -> bool:
        return any(held.get(one, 0) < much and _is_named_aside(one) for one in box.upwards(root))

    return lambda block: not block.box.quoted and is_aside(block.box)


def _leads_elsewhere(block: Block) -> bool:
    """`Related: another article`."""
    return block.size >= 5 and block.link_share > 0.5 and block.cell is None and LABEL.match(block.text) is not None


def _is_tail(block: Block) -> bool:
    """Links, headings without a text, appeals and credits, at the end."""
    if block.box.quoted:
        return False
    if block.tag in HEADINGS or (block.link_share >= HARDLY_LINKED and block.size >= 2):
        return True
    text = block.text[:LOOKED_AT]
    asks = block.link > 0 or block.strong_share > 0.8
    return block.size < SHORT and bool((asks and APPEAL.search(text)) or CREDITS.search(text))
