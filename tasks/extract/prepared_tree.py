"""Makes canonical what programs write in many ways, before a page is read: code, formulas, headings, ruby, signatures.

Everything that reads the text of a page reads the prepared tree: our own block reader, and trafilatura.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from tasks.extract.code_blocks import make_code_plain
from tasks.extract.formulas import write_formulas
from tasks.extract.tree_edits import removed

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Links from a heading to itself.
PERMALINK = re.compile(
    r"(?:^|\s)(?:headerlink|header-?link|heading-?link|anchor|anchor-?link|anchorjs-link|header-?anchor|heading-?anchor"
    r"|hash-?link|permalink|self-?link|direct-?link)(?:\s|$)",
    re.IGNORECASE,
)
PERMALINK_SIGNS = frozenset("¶#§🔗⚓∞")
SIGNATURE = re.compile(r"(?:^|\s)memname(?:\s|$)")  # Doxygen lays a signature out as a table
# Where a button that shows and hides something is a menu.
MENU = frozenset(("nav", "header", "footer", "form", "menu", "aside", "dialog"))


def prepare(tree: Any) -> None:
    """Changes the tree, so that code, formulas, headings and signatures stand in it as a reader sees them."""
    for reading in list(tree.iter("rt", "rp", "rtc")):  # of ruby: how the characters before it are spoken
        if reading.getparent() is not None:
            removed(reading)
    _remove_edit_links(tree)
    _remove_permalinks(tree)
    _keep_labels(tree)
    _join_signatures(tree)
    write_formulas(tree)
    make_code_plain(tree)
    for figure in list(tree.iter("figure")):  # of text, not a picture beside it
        if next(figure.iter("pre", "table"), None) is not None:
            figure.tag = "div"


def _remove_edit_links(tree: Any) -> None:
    for span in list(tree.iter("span")):
        kind = span.get("class")
        if kind and kind.startswith("mw-editsection") and span.getparent() is not None:
            removed(span)


def _remove_permalinks(tree: Any) -> None:
    for link in list(tree.iter("a")):
        if "#" not in (link.get("href") or ""):
            continue
        text = "".join(link.itertext()).strip()
        named = PERMALINK.search((link.get("class") or "")[:300]) is not None
        if text in PERMALINK_SIGNS or (named and (not any(map(str.isalnum, text)) or _heading_says_more(link, text))):
            removed(link)


def _heading_says_more(link: Any, text: str) -> bool:
    heading = next(link.iterancestors(*HEADINGS, "dt", "caption", "figcaption"), None)
    return heading is not None and len("".join(heading.itertext()).strip()) > len(text)


def _keep_labels(tree: Any) -> None:
    """Buttons are controls, except where they are the heading of what they show and hide."""
    for button in list(tree.iter("button")):
        above = [element.tag for element in button.iterancestors()]
        if heading := next((tag for tag in above if tag in (*HEADINGS, "summary", "dt")), None):
            if not _stands_beside_text(button, heading):
                button.tag = "span"
        elif (
            (button.get("aria-expanded") or button.get("aria-controls"))
            and button.get("aria-haspopup") is None
            and not MENU.intersection(above)
        ):
            button.tag = "div"


def _stands_beside_text(button: Any, heading: str) -> bool:
    whole = next(button.iterancestors(heading))
    return len("".join(whole.itertext()).strip()) > len("".join(button.itertext()).strip())


def _join_signatures(tree: Any) -> None:
    """A signature is one line, however its parts are laid out."""
    for table in list(tree.iter("table")):
        if SIGNATURE.search(table.get("class") or ""):
            etree.strip_tags(table, "tbody", "tr", "td")
            table.tag = "div"
    for term in list(tree.iter("dt")):
        if term.find("dl") is not None:
            etree.strip_tags(term, "dl", "dd")
