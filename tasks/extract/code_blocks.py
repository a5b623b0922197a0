"""Code as its author wrote it: every program's way to show code becomes `<pre><code>` with plain text.

Programs that highlight code put each line into an element of its own (`div`, `li`, `tr`, or a `span` that CSS shows as
a block), number the lines, and add buttons and labels. Here each box of code becomes the lines alone.
"""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from tasks.extract.tree_edits import become_text, writable

# Boxes that hold their lines without `pre`, or each line in a `pre` of its own.
BOX = re.compile(
    r"(?:^|\s)(?:syntaxhighlighter|dp-highlighter|crayon-(?:syntax|pre)|enlighter-code|CodeMirror-code|cm-content"
    r"|js-file-line-container|(fragment))(?:\s|$)"
)
LINE = re.compile(r"(?:^|[\s_-])line(?:\s|$)", re.IGNORECASE)  # class of an element that is a line of code
BLOCK_STYLE = re.compile(r"display\s*:\s*(?:block|flex|grid|table-row)", re.IGNORECASE)
GUTTER = re.compile(r"gutter|line-?_?n(?:um|o)|(?:^|[\s_-])(?:ln|lnt|ln-num|blob-num)(?:\s|$)", re.IGNORECASE)
CODE_CELL = re.compile(r"code|\blines?\b", re.IGNORECASE)
UNSHOWN = re.compile(r"(?:^|\s)boring(?:\s|$)")  # mdBook shows such lines on demand
LETTER = re.compile(r"[^\W\d_]")
NUMBERS = re.compile(r"\s*\d+\s+\d+")
# Around code: a box with such a class; in it, a button or a label with such a class, text or language.
CODE_BOX = re.compile(r"code|highlight|snippet|listing|prism|shiki|syntax", re.IGNORECASE)
LABEL = re.compile(r"copy|clipboard|clip-?button|toolbar|lang(?:uage)?-?(?:name|label|tag)|code-?lang", re.IGNORECASE)
COPY = re.compile(r"cop(?:y|ied)\b.{0,30}", re.IGNORECASE)
LANGUAGE = re.compile(r"(?:lang(?:uage)?-|brush:\s*|highlight-(?:source-)?)([\w+#.-]+)", re.IGNORECASE)
LABEL_CHARACTERS = 40

LINES = frozenset(("div", "li", "tr", "p", "pre"))
CONTAINERS = frozenset(("table", "thead", "tbody", "tr", "ol", "ul"))  # spaces between their tags are not code
NO_CODE = frozenset(("button", "script", "style", "svg", "textarea", "template", "select", "input", "noscript"))
# In a `pre` they show that it was never closed, or that it is a text with headings.
PROSE = ("h1", "h2", "h3", "h4", "h5", "h6", "article", "section", "form", "dl", "blockquote", "hr", "center")
BLANKS = str.maketrans({"\xa0": " ", "\r": None, "\u200b": None, "\ufeff": None})


def make_code_plain(tree: Any) -> None:
    """Rewrites every box of code in the tree as `<pre><code>` with its lines as text."""
    done = set[Any]()
    for box in list(tree.iter("table", "div")):
        if box not in done and _is_box(box):
            done.update(box.iter("table", "div"))
            _become_code(box)
    for code in list(tree.iter("code")):
        if _is_block_of_code(code):
            _become_code(code)
    done = set()
    for pre in list(tree.iter("pre")):
        if pre in done or not len(pre) or next(pre.iter(*PROSE), None) is not None:
            continue
        done.update(pre.iter("pre"))
        _drop_labels(pre)
        if _is_marked_as_code(pre) or next(pre.iter("a"), None) is None:
            _become_code(pre)


def code_text(box: Any) -> str:
    """Returns the lines of a box of code, without line numbers, buttons and lines that are not shown."""
    lines = _Lines()
    walker = etree.iterwalk(box, events=("start", "end"))
    left_out: Any = None
    for event, element in walker:
        inside = element is not box
        if event == "start":
            if inside and (element.tag in NO_CODE or _is_beside_the_code(element)):
                left_out = element
                walker.skip_subtree()
                continue
            if element.tag == "br":
                lines.add("\n")
            elif inside and _is_line(element):
                lines.start()
            if element.tag not in CONTAINERS:
                lines.add(element.text)
        elif inside:
            if element is not left_out and _is_line(element):
                lines.end()
            if element.getparent().tag not in CONTAINERS:
                lines.add(element.tail)
    text = "".join(lines.pieces).translate(BLANKS).strip("\n")
    return "\n".join(line.rstrip() for line in _unnumbered(text.split("\n"))).strip("\n")


def _unnumbered(lines: list[str]) -> list[str]:
    """Returns the lines without those that number each next one."""
    numbers = [line.strip() for line in lines[::2]]
    is_numbered = len(numbers) > 1 and numbers == [str(number) for number in range(1, len(numbers) + 1)]
    return lines[1::2] if is_numbered else lines


class _Lines:
    """Text with one line break between two lines, however many tags stand between them."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._starts: list[int] = []  # pieces before each open line
        self._break = False  # a line has ended, and its line break has not come yet

    def add(self, text: str | None) -> None:
        if text:
            if self._break and not text.lstrip(" \t\r").startswith("\n"):
                self.pieces.append("\n")
            self._break = False
            self.pieces.append(text)

    def start(self) -> None:
        if self._break or (self.pieces and not self.pieces[-1].endswith("\n")):
            self.pieces.append("\n")
        self._break = False
        self._starts.append(len(self.pieces))

    def end(self) -> None:
        is_empty = self._starts.pop() == len(self.pieces)
        self._break = self._break or is_empty or not self.pieces[-1].endswith("\n")


def _is_line(element: Any) -> bool:
    if element.tag in LINES:
        return True
    kind, style = element.get("class"), element.get("style")
    return bool((kind and LINE.search(kind[:300])) or (style and BLOCK_STYLE.search(style[:500])))


def _is_beside_the_code(element: Any) -> bool:
    """Whether an element in a box of code is a line number, a copy button, or a line that is not shown."""
    kind = element.get("class") or ""
    if kind and UNSHOWN.search(kind[:300]):
        return True
    if element.tag in ("td", "th") and element.getnext() is not None and not _has_letters(element):
        return True
    if not kind or element.tag in ("pre", "code"):
        return False
    return (GUTTER.search(kind[:300]) is not None and not _has_letters(element)) or _is_label(element, set())


def _has_letters(element: Any) -> bool:
    return any(LETTER.search(text) for text in element.itertext())


def _is_box(element: Any) -> bool:
    """Whether a `div` or a table is a box of code that is not a `pre`."""
    kind = element.get("class")
    if kind and (found := BOX.search(kind[:300])):
        return found[1] is None or any(LINE.search(child.get("class") or "") for child in element.iterchildren("div"))
    if element.tag != "table":
        return False
    row = next(element.iter("tr"), None)
    cells = list(row.iterchildren("td", "th")) if row is not None else []
    if len(cells) < 2 or _has_letters(cells[0]):
        return False
    numbers = GUTTER.search(cells[0].get("class") or "") or NUMBERS.match("".join(cells[0].itertext()))
    code = CODE_CELL.search(cells[1].get("class") or "") or next(cells[1].iter("pre"), None) is not None
    return bool(numbers and code)


def _is_block_of_code(code: Any) -> bool:
    """Whether a `code` of several lines stands alone where a `pre` should."""
    parent = code.getparent()
    if parent is None or parent.tag not in ("p", "div", "figure", "section", "dd") or len(parent) != 1:
        return False
    if (parent.text and not parent.text.isspace()) or (code.tail and not code.tail.isspace()):
        return False
    if code.find("br") is None and not (LANGUAGE.search(code.get("class") or "") and "\n" in (code.text or "")):
        return False
    return next(code.iterancestors("pre"), None) is None


def _is_marked_as_code(pre: Any) -> bool:
    """Directory listings and manual pages are `pre` with links; they are no code."""
    return next(pre.iter("code"), None) is not None or CODE_BOX.search(pre.get("class") or "") is not None


def _become_code(element: Any) -> None:
    text = writable(code_text(element))
    del element[:]
    element.text, element.tag = None, "pre"
    if text:
        etree.SubElement(element, "code").text = text


def _drop_labels(pre: Any) -> None:
    """Removes buttons and the name of the language from the boxes around the code."""
    languages = _languages(pre) | {name for code in pre.iterchildren("code") for name in _languages(code)}
    inner, box = pre, pre.getparent()
    for _ in range(3):
        if box is None or box.tag not in ("div", "figure", "section") or not CODE_BOX.search(box.get("class") or ""):
            return
        languages |= _languages(box)
        for sibling in (inner.getprevious(), inner.getnext()):
            if sibling is not None and sibling.tag != "pre" and _is_label(sibling, languages):
                become_text(sibling)
        inner, box = box, box.getparent()


def _languages(element: Any) -> set[str]:
    names = set(LANGUAGE.findall(element.get("class") or ""))
    return {name.lower() for name in (*names, element.get("data-lang"), element.get("data-language")) if name}


def _is_label(element: Any, languages: set[str]) -> bool:
    text = ""
    for piece in element.itertext():
        text += piece
        if len(text) > 10 * LABEL_CHARACTERS:
            return False
    text = " ".join(text.split())
    if len(text) > LABEL_CHARACTERS:
        return False
    named = LABEL.search(element.get("class") or "") is not None
    return named or COPY.fullmatch(text) is not None or text.lower() in languages
