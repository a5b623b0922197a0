"""Makes canonical what programs write in many ways, before a page is read: code, formulas, headings, ruby, signatures.

Everything that reads the text of a page reads the prepared tree: our own block reader, and trafilatura.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from tasks.extract.code_blocks import make_code_plain
from tasks.extract.formulas import write_formulas
from tasks.extract.tree_edits import become_text

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Links from a heading to itself.
PERMALINK = re.compile(
    r"(?:^|\s)(?:headerlink|header-?link|heading-?link|anchor|anchor-?link|anchorjs-link|header-?anchor|heading-?anchor"
    r"|hash-?link|permalink|self-?link|direct-?link)(?:\s|$)",
    re.IGNORECASE,
)
PERMALINK_SIGNS = frozenset("¶#§🔗⚓∞")
SIGNATURE = re.compile(r"(?:^|\s)memname(?:\s|$)")  # Doxygen lays a signature out as a table
NOSCRIPT_WORDS = 50  # with fewer, it says only that a script is wanted
# Where a button that shows and hides something is a menu, or one beside a heading.
NO_LABELS = frozenset((*HEADINGS, "summary", "dt", "nav", "header", "footer", "form", "menu", "aside", "dialog"))
NOTE = re.compile(
    r"(?:^|\s)(?:footnotes?(?:-list)?|admonition|note|callout)(?:\s|$)"
)  # an `aside` that is part of the text
PLACE_OF_PART = re.compile(r"[BP]:(?=.)")


def prepare(tree: Any) -> None:
    """Changes the tree, so that code, formulas, headings and signatures stand in it as a reader sees them."""
    _show_text_for_robots(tree)
    _place_streamed_parts(tree)
    etree.strip_elements(tree, "rt", "rp", "rtc", with_tail=False)  # ruby: how the characters before are spoken
    _remove_edit_links(tree)
    _remove_permalinks(tree)
    _keep_labels(tree)
    _join_signatures(tree)
    for aside in list(tree.iter("aside")):
        if NOTE.search(aside.get("class") or "") or aside.get("role") in ("note", "doc-footnote"):
            aside.tag = "div"
    write_formulas(tree)
    make_code_plain(tree)
    for figure in list(tree.iter("figure")):  # of text, not a picture beside it
        if next(figure.iter("pre", "table"), None) is not None:
            figure.tag = "div"


def _show_text_for_robots(tree: Any) -> None:
    """Forums that scripts draw, such as Discourse and Flarum, put their posts for others into `noscript`."""
    for noscript in list(tree.iter("noscript")):
        words = len("".join(noscript.itertext()).split())
        if words >= NOSCRIPT_WORDS and next(noscript.iterancestors("head"), None) is None:
            noscript.tag = "div"


def _place_streamed_parts(tree: Any) -> None:
    """React sends what takes time behind the page, hidden, and a script puts part `S:1` in the place of `B:1`."""
    parts = {part.get("id"): part for part in tree.iter("div") if (part.get("id") or "").startswith("S:")}
    for place in list(tree.iter("template")) if parts else ():
        part = parts.get(PLACE_OF_PART.sub("S:", place.get("id") or "", count=1))
        if part is not None and part not in place.iterancestors():
            place.tag = "div"
            place.text = part.text
            place.extend(list(part))
            become_text(part)


def _remove_edit_links(tree: Any) -> None:
    for span in list(tree.iter("span")):
        if (span.get("class") or "").startswith("mw-editsection"):
            become_text(span)


def _remove_permalinks(tree: Any) -> None:
    lengths: dict[Any, int] = {}  # of the texts of headings
    for link in list(tree.iter("a")):
        if "#" not in (link.get("href") or ""):
            continue
        text = "".join(link.itertext()).strip()
        if text in PERMALINK_SIGNS or (
            PERMALINK.search((link.get("class") or "")[:300]) and _is_apart(link, text, lengths)
        ):
            become_text(link)


def _is_apart(link: Any, text: str, lengths: dict[Any, int]) -> bool:
    """Whether the words of a permalink, if there are any, are not those of the heading."""
    if not any(map(str.isalnum, text)):
        return True
    heading = next(link.iterancestors(*HEADINGS, "dt", "caption", "figcaption"), None)
    if heading is None:
        return False
    if heading not in lengths:
        lengths[heading] = len("".join(heading.itertext()).strip())
    lengths[heading] -= len(text)
    return lengths[heading] > 0


def _keep_labels(tree: Any) -> None:
    """Buttons are controls, except where they are the heading of what they show and hide."""
    for heading in tree.iter(*HEADINGS, "summary", "dt"):
        buttons = list(heading.iter("button"))
        text = "".join(heading.itertext()).split()
        if buttons and text == [word for button in buttons for word in "".join(button.itertext()).split()]:
            for button in buttons:
                button.tag = "span"
    for button in list(tree.iter("button")):
        controls = (button.get("aria-expanded") or button.get("aria-controls")) and not button.get("aria-haspopup")
        if controls and not any(element.tag in NO_LABELS for element in button.iterancestors()):
            button.tag = "div"


def _join_signatures(tree: Any) -> None:
    """A signature is one line, however its parts are laid out."""
    for table in list(tree.iter("table")):
        if SIGNATURE.search(table.get("class") or ""):
            etree.strip_tags(table, "tbody", "tr", "td")
            table.tag = "div"
    for term in list(tree.iter("dt")):
        if "sig" in (term.get("class") or "").split():
            # Sphinx lists the parameters of a long signature inside its `dt`; the parser puts them behind it.
            while (part := term.getnext()) is not None and part.tag not in ("dt", "dd"):
                term.append(part)
            etree.strip_tags(term, "dl", "dd")
