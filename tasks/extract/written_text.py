"""Writes the blocks of a page as raw text (docs/raw-text.md): code as it is between blank lines, all else a line."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.content.text_blocks import Block, BlockElement

INDENT = "  "  # for each list around a list
ITEM_PARTS = frozenset(("p", "div"))  # an item's first line may stand in one of these


def written(blocks: Iterable[Block]) -> str:
    """Returns the text of the blocks."""
    lines: list[str] = []
    begun: set[BlockElement] = set()  # items that have their marker
    for block in blocks:
        if block.tag == "pre":
            lines += ["", block.text, ""]
            continue
        item = _item(block.element)
        if item is None or item in begun:
            lines.append(block.text)
        else:
            begun.add(item)
            lines.append(_marker(item) + block.text.replace("\n", " "))
    return "\n".join(line for line, before in zip(lines, ["", *lines], strict=False) if line or before).strip("\n")


def _item(element: BlockElement) -> BlockElement | None:
    """Returns the list item that the element is, or whose first line it may be."""
    for one in element.upwards():
        if one.tag == "li":
            return one
        if one.tag not in ITEM_PARTS:
            return None
    return None


def _marker(item: BlockElement) -> str:
    depth = sum(one.tag == "li" for one in item.upwards()) - 1
    return f"{INDENT * depth}{f'{item.number}. ' if item.number is not None else '- '}"
