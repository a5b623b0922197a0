"""Formulas as their TeX source: `$x^2$` in a line of text, `$$x^2$$` on a line of its own.

MathML, KaTeX, MathJax and MediaWiki write a formula several times: for the eye, for screen readers and as source. The
source is kept, once. MathML without its source is written in TeX's notation; a formula without either stays as it is.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.extract.tree_edits import become_text

# Elements around the several forms of one formula, by class.
WHOLE = re.compile(r"(?:^|\s)(?:katex(?:-display)?|mwe-math-element(?:-\w+)?|MathJax(?:_Display|_SVG|_CHTML)?)(?:\s|$)")
RENDERED = re.compile(r"(?:^|\s)MathJax(?:_Preview|_Display|_SVG|_CHTML|_SVG_Display|_CHTML_Display)?(?:\s|$)")
DISPLAY = re.compile(r"display|formulaDsp|block", re.IGNORECASE)
# Images that have the TeX source as their alternative text.
IMAGE = re.compile(r"(?:^|\s)(?:mwe-math-fallback-image-\w+|tex|latex|math|formula(?:Inl|Dsp))(?:\s|$)")
STYLE = re.compile(r"\{\\(?:display|text)style\s*(.*)\}", re.DOTALL)
DELIMITED = re.compile(r"\$\$?(.*?)\$\$?|\\\[(.*)\\\]|\\\((.*)\\\)", re.DOTALL)
WAYS_UP = 6  # elements between MathML and the element that holds the whole formula
DEPTH = 100  # of MathML that is written in TeX's notation


# How elements with a fixed number of parts are written.
NOTATION = {
    "mfrac": (2, r"\frac{{{0}}}{{{1}}}"),
    "msup": (2, "{0}^{{{1}}}"),
    "msub": (2, "{0}_{{{1}}}"),
    "msubsup": (3, "{0}_{{{1}}}^{{{2}}}"),
    "mover": (2, r"\overset{{{1}}}{{{0}}}"),
    "munder": (2, "{0}_{{{1}}}"),
    "munderover": (3, "{0}_{{{1}}}^{{{2}}}"),
    "mroot": (2, r"\sqrt[{1}]{{{0}}}"),
}
UNWRITTEN = ("annotation", "annotation-xml", "mphantom", "mspace")


def write_formulas(tree: Any) -> None:
    """Replaces every formula in the tree by its TeX source."""
    for script in list(tree.iter("script")):
        kind = script.get("type") or ""
        if kind.startswith("math/tex"):
            before = script.getprevious()
            while before is not None and RENDERED.search(before.get("class") or ""):
                become_text(before)
                before = before.getprevious()
            _replace(script, script.text or "", display="mode=display" in kind)
    done = set[Any]()
    for math in list(tree.iter("math", "mjx-container")):
        if math not in done:
            whole = _whole(math)
            done.update(whole.iter("math", "mjx-container"))
            kind = f"{whole.get('class')} {math.get('class')} {math.get('display')}"
            _replace(whole, _source(whole), display="true" in kind.split() or DISPLAY.search(kind) is not None)
    for image in list(tree.iter("img")):
        kind, source = image.get("class"), image.get("alt")
        if kind and source and IMAGE.search(kind[:300]):
            _replace(image, source, display=DISPLAY.search(kind) is not None)


def _whole(math: Any) -> Any:
    """Returns the outermost element that holds nothing but this formula in its several forms."""
    whole = math
    for _, element in zip(range(WAYS_UP), math.iterancestors(), strict=False):
        if element.tag == "mjx-container" or WHOLE.search((element.get("class") or "")[:300]):
            whole = element
    return whole


def _source(whole: Any) -> str:
    """Returns the TeX source of a formula, or its MathML in TeX's notation."""
    for element in whole.iter("annotation", "math", "mjx-container"):
        tex = element.text if element.get("encoding") in ("application/x-tex", "TeX") else None
        if tex or (tex := element.get("data-latex")):
            return str(tex)
    math = next(whole.iter("math"), None)
    if math is None:
        return ""
    return math.get("alttext") or _in_notation(math, DEPTH)


def _in_notation(element: Any, depth: int) -> str:
    if not depth or element.tag in UNWRITTEN:
        return ""
    if not len(element):
        return " ".join((element.text or "").split())
    parts = [_in_notation(part, depth - 1) for part in element if isinstance(part.tag, str)]
    number, notation = NOTATION.get(element.tag, (0, ""))
    if number == len(parts) > 0:
        return notation.format(*parts)
    text = (" & " if element.tag == "mtr" else r" \\ " if element.tag == "mtable" else "").join(parts)
    return rf"\sqrt{{{text}}}" if element.tag == "msqrt" else text


def _replace(element: Any, source: str, *, display: bool) -> None:
    """Puts the source in the place of the element; a displayed formula between line breaks."""
    tex = " ".join(source.split())
    if found := DELIMITED.fullmatch(tex):
        tex = next(part for part in found.groups() if part is not None).strip()
    if found := STYLE.fullmatch(tex):
        tex = found[1].strip()
    if display and tex:
        end = element.makeelement("br")
        end.tail, element.tail = element.tail, None
        element.addprevious(element.makeelement("br"))
        element.addnext(end)
    mark = "$$" if display else "$"
    become_text(element, f"{mark}{tex}{mark}" if tex else "")
