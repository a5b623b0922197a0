"""A parsed page as a list of blocks: the stretches of text between block-level tags, with where each one stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

# What a browser shows as no text, or as the page's machinery.
_SKIPPED = (
    "script style noscript template svg math iframe object embed applet audio video canvas map select option optgroup "
    "textarea input datalist head button frame frameset noframes link meta title base param source track progress "
    "meter rp"
)
# All others, custom elements too, stand in the line, as in a browser.
_BLOCK_LEVEL = (
    "html body address article aside blockquote caption center dd details dialog dir div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li main menu nav ol p pre search section summary table "
    "tbody td tfoot th thead tr ul"
)
SKIPPED, BLOCK_LEVEL = frozenset(_SKIPPED.split()), frozenset(_BLOCK_LEVEL.split())
HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
# Inline text that only shows on demand (a person's portrait on hover, words for screen readers).
ON_DEMAND = re.compile(r"rollover|tooltip-?(?:text|content)|sr-only|screen-?reader|visually-?hidden")
INVISIBLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
BREAK = "\x1e"  # <br>, until the spaces around it are gone
CELL_WORDS, ROW_WORDS = 20, 40  # cells of more words are paragraphs laid out by a table
# Scripts without spaces count two characters as a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")


@dataclass(slots=True, eq=False)
class BlockElement:
    """A block-level element."""

    parent: BlockElement | None
    tag: str
    names: str  # its class and id, lower case, camelCase parted by hyphens
    hidden: bool
    quoted: bool  # it is a blockquote, or stands in one
    depth: int
    kind: str  # tag and class
    template: str  # kinds of itself and three ancestors: equal for what one template made
    place: int  # among all boxes of the page, in document order
    end: int = 0  # the place after its last descendant

    def holds(self, other: BlockElement) -> bool:
        return self.place <= other.place < self.end

    def upwards(self, root: BlockElement | None = None) -> Iterator[BlockElement]:
        """The box and its ancestors below the root."""
        box: BlockElement | None = self
        while box is not None and box is not root:
            yield box
            box = box.parent


@dataclass(slots=True, eq=False)
class Block:
    """Text directly in one box (a row's cells are one block)."""

    box: BlockElement
    cell: BlockElement | None  # the table cell that it stands in
    text: str
    link: int  # characters of it in links
    strong: int  # characters of it in bold
    tokens: list[str] = field(default_factory=list)  # lower case, no punctuation
    size: int = 0  # in words

    @property
    def tag(self) -> str:
        return self.box.tag

    @property
    def link_share(self) -> float:
        return self.link / len(self.text)

    @property
    def strong_share(self) -> float:
        return self.strong / len(self.text)


def tokens_of(text: str) -> list[str]:
    """Words in lower case; single characters where a script knows no spaces."""
    return TOKEN.findall(text.lower())


def page_blocks(tree: Any) -> list[Block]:
    """All text of the tree that may be seen, in document order. The tree is only read."""
    reader = _Reader()
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
        block.size = len(block.tokens)
        if not block.text.isascii():
            block.size -= len(UNSPACED_CHARACTER.findall(block.text)) // 2
    return reader.blocks


class _Reader:
    """Collects text between the tags that part blocks."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._boxes: list[BlockElement] = []
        self._places = 0
        self._cells: list[BlockElement] = []
        self._pieces: list[str] = []
        self._link = self._strong = 0
        self._links = self._bolds = 0  # how many such elements are open
        self._after_break = False
        self._skipped: list[Any] = []

    def open(self, element: Any) -> bool:
        """False where the element's inside is to be skipped."""
        tag = element.tag
        if tag in SKIPPED:
            self._skipped.append(element)
            return False
        if tag in ("br", "hr"):
            self._break(tag)
        elif tag in BLOCK_LEVEL:
            self.flush()
            self._boxes.append(_box(element, self._boxes[-1] if self._boxes else None, self._places))
            self._places += 1
            if tag in ("td", "th"):
                self._cells.append(self._boxes[-1])
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
            box = self._boxes.pop()
            box.end = self._places
            if self._cells and self._cells[-1] is box:
                self._cells.pop()
        elif tag not in ("br", "hr"):
            self._links -= tag == "a"
            self._bolds -= tag in ("b", "strong")
        self.add(element.tail)

    def add(self, text: str | None) -> None:
        if not text or not self._boxes:
            return
        self._pieces.append(text)
        if (self._links or self._bolds or self._after_break) and not text.isspace():
            self._after_break = False
            length = len(" ".join(text.split()))
            self._link += length if self._links else 0
            self._strong += length if self._bolds else 0

    def _break(self, tag: str) -> None:
        """Two breaks in a row part paragraphs, as a rule does."""
        if self._after_break or tag == "hr":
            self.flush()
        else:
            self._pieces.append(BREAK)
        self._after_break = True

    def flush(self) -> None:
        if self._pieces:
            box, cell = self._boxes[-1], self._cells[-1] if self._cells else None
            text = _verbatim(self._pieces) if box.tag == "pre" else _squeezed(self._pieces)
            if text:
                self._store(Block(box, cell, text, min(self._link, len(text)), min(self._strong, len(text))))
            self._pieces = []
        self._link = self._strong = 0
        self._after_break = False

    def _store(self, block: Block) -> None:
        before = self.blocks[-1] if self.blocks else None
        if before is not None and _are_one_row(before, block):
            before.text += " | " + block.text
            before.link += block.link
            before.strong += block.strong
            before.cell = block.cell
        else:
            self.blocks.append(block)


def _are_one_row(before: Block, block: Block) -> bool:
    """Two cells of one row with a few words each; two paragraphs in a cell, or long ones, are laid out by a table."""
    if before.cell is None or block.cell is None or before.cell is block.cell:
        return False
    if before.cell.parent is not block.cell.parent:
        return False
    return len(block.text.split()) < CELL_WORDS and len(before.text.split()) < ROW_WORDS


def _squeezed(pieces: list[str]) -> str:
    text = "".join(pieces)
    if BREAK not in text:
        return " ".join(text.split())
    lines = (" ".join(line.split()) for line in text.split(BREAK))
    return "\n".join(line for line in lines if line)


def _verbatim(pieces: list[str]) -> str:
    """Of `pre`: every space and line counts."""
    lines = "".join(pieces).replace(BREAK, "\n").replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _box(element: Any, parent: BlockElement | None, place: int) -> BlockElement:
    kind, name = element.get("class") or "", element.get("id") or ""
    names = CAMEL.sub("-", f"{kind[:300]} {name[:100]}").lower() if kind or name else ""
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


def _hidden(element: Any) -> bool:
    attributes = element.attrib
    return "hidden" in attributes or attributes.get("aria-hidden") == "true" or _has_no_display(element)


def _has_no_display(element: Any) -> bool:
    style = element.get("style")
    return style is not None and INVISIBLE.search(style[:500].lower()) is not None


def _on_demand(element: Any) -> bool:
    if not element.attrib:
        return False
    kind = element.get("class")
    if "hidden" in element.attrib or _has_no_display(element):
        return True
    return kind is not None and ON_DEMAND.search(CAMEL.sub("-", kind[:300]).lower()) is not None
