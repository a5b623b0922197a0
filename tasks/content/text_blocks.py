"""Turns a parsed page into a list of blocks: the texts between block-level tags, each with its place in the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from tasks.contracts.scripts import UNSPACED

# Elements that browsers show without text, or as controls.
_SKIPPED = (
    "script style noscript template svg math iframe object embed applet audio video canvas map select option optgroup "
    "textarea input datalist head button frame frameset noframes link meta title base param source track progress "
    "meter rp"
)
# All other elements, custom ones too, are inline, as in a browser.
_BLOCK_LEVEL = (
    "html body address article aside blockquote caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p pre search section summary table "
    "tbody td tfoot th thead tr ul"
)
SKIPPED, BLOCK_LEVEL = frozenset(_SKIPPED.split()), frozenset(_BLOCK_LEVEL.split())
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
# Inline text that shows only on demand (a portrait on hover, words for screen readers).
ON_DEMAND = re.compile(r"rollover|tooltip-?(?:text|content)|sr-only|screen-?reader|visually-?hidden")
INVISIBLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
BREAK = "\x1e"  # stands for <br> until the spaces around it are removed
ONE_LINE = HEADINGS | {"li", "dt", "th", "td"}  # a <br> in them is a space
CELL_WORDS, ROW_WORDS = 20, 40  # cells with more words are paragraphs in a layout table
DATA_CELL_WORDS, DATA_ROW_WORDS = 100, 250  # the same where the table has a header
# Scripts without spaces between words: two characters count as a word.
TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")

SHORT_TOKENS = 5  # a block with fewer has too few trigrams to be looked up

Trigrams = set[tuple[str, str, str]]


@dataclass(slots=True, eq=False)
class BlockElement:
    """A block-level element, such as `<p class="lead">` inside `<article class="post">` inside `<body>`."""

    parent: BlockElement | None
    tag: str
    names: str  # class and id in lower case, camelCase split by hyphens: "lead"
    hidden: bool
    quoted: bool  # is a blockquote, or inside one
    depth: int
    kind: str  # tag and class: "p.lead"
    template: str  # kinds of it and up to three ancestors: "p.lead/article.post/body"; equal if one template made them
    place: int  # its number among all block-level elements, in document order
    number: int | None = None  # of an item in an ordered list
    end: int = 0  # the place after its last descendant: x is inside if place <= x.place < end

    def holds(self, other: BlockElement) -> bool:
        return self.place <= other.place < self.end

    def upwards(self, root: BlockElement | None = None) -> Iterator[BlockElement]:
        """Yields the element and its ancestors below the root."""
        element: BlockElement | None = self
        while element is not None and element is not root:
            yield element
            element = element.parent


@dataclass(slots=True, eq=False)
class Block:
    """The text directly in one block-level element; the cells of a table row are one block."""

    element: BlockElement
    cell: BlockElement | None  # the table cell around it
    text: str
    link: int  # characters in links
    strong: int  # characters in bold
    tokens: list[str] = field(default_factory=list)  # lower case, no punctuation
    trigrams: Trigrams = field(default_factory=set)  # of the tokens
    size: int = 0  # in words

    @property
    def tag(self) -> str:
        return self.element.tag

    @property
    def link_share(self) -> float:
        return self.link / len(self.text)

    @property
    def strong_share(self) -> float:
        return self.strong / len(self.text)


def tokens_of(text: str) -> list[str]:
    """Returns words in lower case; single characters for scripts without spaces between words."""
    return TOKEN.findall(text.lower())


def trigrams(tokens: list[str]) -> Trigrams:
    """Returns the sequences of three words."""
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def shares_found(blocks: Sequence[Block], reference: str) -> list[float]:
    """Returns the share of each block's word trigrams that stand in a text; short blocks must be one of its lines."""
    lines = {" ".join(tokens_of(line)) for line in reference.splitlines()}
    known = trigrams(tokens_of(reference))

    def share(block: Block) -> float:
        if len(block.tokens) < SHORT_TOKENS:
            return float(bool(block.tokens) and " ".join(block.tokens) in lines)
        return len(block.trigrams & known) / len(block.trigrams)

    return [share(block) for block in blocks]


def page_blocks(tree: Any) -> list[Block]:
    """Returns all visible text of the tree, in document order. Does not change the tree."""
    reader = _Reader(_data_tables(tree))
    walker = etree.iterwalk(tree, events=("start", "end", "comment", "pi"))
    for event, element in walker:
        if event == "start":
            if not reader.open(element):
                walker.skip_subtree()
        elif event == "end":
            reader.close(element)
        else:
            reader.add(element.tail)
    reader.flush()
    for block in reader.blocks:
        block.tokens = tokens_of(block.text)
        block.trigrams = trigrams(block.tokens)
        block.size = len(block.tokens)
        if not block.text.isascii():
            block.size -= len(UNSPACED_CHARACTER.findall(block.text)) // 2
    return reader.blocks


class _Reader:
    """Collects the text between block-level tags."""

    def __init__(self, data_tables: set[Any]) -> None:
        self.blocks: list[Block] = []
        self._data_tables = data_tables
        self._open: list[BlockElement] = []
        self._tables: list[bool] = []  # open ones: whether they hold data
        self._counts: dict[BlockElement, int] = {}  # cells in a row, the last number in a list
        self._columns: dict[BlockElement, int] = {}  # of cells
        self._places = 0  # block-level elements so far
        self._cells: list[BlockElement] = []  # open ones
        self._pieces: list[str] = []  # text of the next block
        self._link = self._strong = 0  # its characters in links, in bold
        self._links = self._bolds = 0  # numbers of open elements
        self._after_break = False
        self._skipped: list[Any] = []

    def open(self, element: Any) -> bool:
        """Returns False where the content of the element must be skipped."""
        tag = element.tag
        if tag in SKIPPED:
            self._skipped.append(element)
            return False
        if tag in ("br", "hr"):
            self._break(tag)
        elif tag in BLOCK_LEVEL:
            self.flush()
            self._open.append(_block_element(element, self._open[-1] if self._open else None, self._places))
            self._places += 1
            if tag == "table":
                self._tables.append(element in self._data_tables)
            elif tag in ("td", "th"):
                self._cells.append(self._open[-1])
                self._columns[self._open[-1]] = self._count(0)
            elif tag == "li":
                self._number(element)
            self.add(element.text)
        elif _on_demand(element):
            self._skipped.append(element)
            return False
        else:
            self._links += tag == "a"
            self._bolds += tag in ("b", "strong")
            self.add(element.text)
        return True

    def close(self, element: Any) -> None:
        tag = element.tag
        if self._skipped and self._skipped[-1] is element:
            self._skipped.pop()
        elif tag in BLOCK_LEVEL:
            self.flush()
            closed = self._open.pop()
            closed.end = self._places
            if self._cells and self._cells[-1] is closed:
                self._cells.pop()
            elif tag == "table":
                self._tables.pop()
        elif tag not in ("br", "hr"):
            self._links -= tag == "a"
            self._bolds -= tag in ("b", "strong")
        self.add(element.tail)

    def _count(self, first: int) -> int:
        """Returns the number of the open element among the children of its parent, counted from `first`."""
        parent = self._open[-1].parent or self._open[-1]
        self._counts[parent] = self._counts.get(parent, first - 1) + 1
        return self._counts[parent]

    def _number(self, item: Any) -> None:
        above = item.getparent()
        if above is not None and above.tag == "ol":
            self._open[-1].number = self._count(_integer(above.get("start"), 1))

    def add(self, text: str | None) -> None:
        if not text or not self._open:
            return
        if not self._pieces and text.isspace() and self._open[-1].tag != "pre":
            return
        self._pieces.append(text)
        if (self._links or self._bolds or self._after_break) and not text.isspace():
            self._after_break = False
            length = len(" ".join(text.split()))
            self._link += length if self._links else 0
            self._strong += length if self._bolds else 0

    def _break(self, tag: str) -> None:
        """Ends the block at two breaks in a row, or at a rule."""
        if self._after_break or tag == "hr":
            self.flush()
        else:
            self._pieces.append(BREAK)
        self._after_break = True

    def flush(self) -> None:
        if self._pieces:
            element, cell = self._open[-1], self._cells[-1] if self._cells else None
            text = _verbatim(self._pieces) if element.tag == "pre" else _squeezed(self._pieces)
            if element.tag in ONE_LINE:
                text = text.replace("\n", " ")
            if text:
                self._store(Block(element, cell, text, min(self._link, len(text)), min(self._strong, len(text))))
            self._pieces = []
        self._link = self._strong = 0
        self._after_break = False

    def _store(self, block: Block) -> None:
        before = self.blocks[-1] if self.blocks else None
        is_data = bool(self._tables and self._tables[-1] and block.cell is not None and block.tag != "pre")
        if before is not None and _are_one_row(before, block, is_data):
            between = self._separator(before.cell, block.cell) if is_data else " | "
            before.text = f"{before.text}{between}{block.text}".replace("\n", " ")
            before.link += block.link
            before.strong += block.strong
            before.cell = block.cell
        else:
            if is_data:
                bars = "" if before is not None and _share_row(before, block) else self._separator(None, block.cell)
                block.text = bars + block.text.replace("\n", " ")
            self.blocks.append(block)

    def _separator(self, before: BlockElement | None, cell: BlockElement | None) -> str:
        """Returns a bar for each cell that begins after `before`, so that empty ones are seen."""
        if before is cell:
            return " "
        if before is None:
            return "| " * self._columns.get(cell, 0) if cell else ""
        return " |" * (self._columns[cell] - self._columns[before]) + " " if cell else ""


def _data_tables(tree: Any) -> set[Any]:
    """Returns the tables with a header. One that holds another table is there for the layout."""
    found, layout = set[Any](), set[Any]()
    for element in tree.iter("table", "th"):
        table = next(element.iterancestors("table"), None)
        (found if element.tag == "th" else layout).add(table)
    return found - layout


def _share_row(before: Block, block: Block) -> bool:
    return before.cell is not None and block.cell is not None and before.cell.parent is block.cell.parent


def _are_one_row(before: Block, block: Block, is_data: bool) -> bool:
    """Whether two blocks are in one row with few words each. Long cells are paragraphs in a layout table."""
    if not _share_row(before, block):
        return False
    if "pre" in (before.tag, block.tag) or (before.cell is block.cell and not is_data):
        return False
    cell, row = (DATA_CELL_WORDS, DATA_ROW_WORDS) if is_data else (CELL_WORDS, ROW_WORDS)
    return len(block.text.split()) < cell and len(before.text.split()) < row


def _squeezed(pieces: list[str]) -> str:
    text = "".join(pieces)
    if BREAK not in text:
        return " ".join(text.split())
    lines = (" ".join(line.split()) for line in text.split(BREAK))
    return "\n".join(line for line in lines if line)


def _verbatim(pieces: list[str]) -> str:
    """Returns the text of `pre`, with all spaces and lines."""
    lines = "".join(pieces).replace(BREAK, "\n").replace("\r\n", "\n").replace("\xa0", " ").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _block_element(element: Any, parent: BlockElement | None, place: int) -> BlockElement:
    kind, name = element.get("class") or "", element.get("id") or ""
    names = _hyphenated(f"{kind[:300]} {name[:100]}") if kind or name else ""
    above = parent.template.split("/", 3)[:3] if parent else []
    label = f"{element.tag}.{kind[:300].replace('/', ' ')}" if kind else element.tag
    return BlockElement(
        parent=parent,
        tag=element.tag,
        names=names,
        hidden=_hidden(element),
        quoted=element.tag == "blockquote" or (parent is not None and parent.quoted),
        depth=parent.depth + 1 if parent else 0,
        kind=label,
        template="/".join([label, *above]),
        place=place,
    )


def _hyphenated(names: str) -> str:
    """Returns names in lower case, camelCase split by hyphens."""
    lowered = names.lower()
    return lowered if lowered == names else CAMEL.sub("-", names).lower()


def _hidden(element: Any) -> bool:
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    return _has_no_display(element)


def _has_no_display(element: Any) -> bool:
    style = element.get("style")
    return style is not None and INVISIBLE.search(style[:500].lower()) is not None


def _on_demand(element: Any) -> bool:
    if element.get("hidden") is not None or _has_no_display(element):
        return True
    kind = element.get("class")
    return kind is not None and ON_DEMAND.search(_hyphenated(kind[:300])) is not None


def _integer(text: str | None, default: int) -> int:
    """Returns the number that an attribute holds."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default
