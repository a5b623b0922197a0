"""Which of the lines that a site repeats stand around its text, and which belong to it.

A run is lines that the site repeats, with no other text between them. What goes:

- a run at the end of the page, and the whole page where all of it is repeated;
- a run at the start of the page. Its last line stands above text that this page alone has: it may be a heading
  ("Summary") or a salutation ("Dear readers,"), and stays unless it is a sentence, as notices are;
- a run of three lines or more between two pieces of the page's own text (a share bar, "Read also" with the same links
  everywhere), but for its last line, which stands above text of this page alone. A run with list items or table rows
  stays: salt is in many recipes.

A shorter run between two pieces is headings. Code is the page's own text, however often it is seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from tasks.contracts.scripts import words

BAR = 3  # lines
NOTICE = 8  # words
STOPS = (
    ".",
    "!",
    "?",
    "\u2026",
    "\u3002",
    "\uff01",
    "\uff1f",
    "\u0964",
    "\u061f",
    "\u06d4",
    "\u1362",
    "\u104b",
    "\u17d4",
)
ITEM = re.compile(r"(?:[-*+\u2022|]|\d+[.)])")
CODE = re.compile(r"[{}=\\]|;$|\(\)|->|::|^(?:\$|>>>|//|#!)")


def places_around_text(lines: Sequence[str], repeated: set[str]) -> set[int]:
    """Returns the places of the lines to remove.

    Args:
        lines: all lines of a page.
        repeated: those that its site repeats.
    """
    code = _places_of_code(lines)
    told = [place for place, line in enumerate(lines) if place in code or any(map(str.isalnum, line))]
    gone: set[int] = set()
    for is_repeated, group in groupby(told, lambda place: place not in code and lines[place] in repeated):
        run = list(group)
        if not is_repeated:
            continue
        last = lines[run[-1]]
        if run[-1] == told[-1] or (run[0] == told[0] and _is_notice(last)):
            gone.update(run)
        elif run[0] == told[0] or (len(run) >= BAR and not any(ITEM.match(lines[place]) for place in run)):
            gone.update(run[:-1])
    return gone


def _is_notice(line: str) -> bool:
    return line.rstrip("\"'\u201d\u00bb)]").endswith(STOPS) and len(words(line)) >= NOTICE


def _places_of_code(lines: Sequence[str]) -> set[int]:
    """Returns the places of indented lines, of lines that look like code, and of what stands between them."""
    code: set[int] = set()
    blocks = [list(group) for blank, group in groupby(range(len(lines)), lambda place: not lines[place]) if not blank]
    for block in blocks:
        like_code = [place for place in block if _is_code(lines[place])]
        if any(lines[place][0] in " \t" for place in like_code):
            code.update(block)
        elif like_code:
            code.update(range(like_code[0], like_code[-1] + 1))
    for before, block, after in zip(blocks, blocks[1:], blocks[2:], strict=False):
        if before[-1] in code and after[0] in code:
            code.update(block)
    return code


def _is_code(line: str) -> bool:
    return line[0] in " \t" or CODE.search(line) is not None
