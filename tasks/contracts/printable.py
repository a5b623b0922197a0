"""The one way out for text that is not ours: no control character of a stranger reaches a terminal, report or artifact.

Terminals obey escape sequences, and bidirectional controls show a text in another order than it has. Both are written
as JSON writes them, such as `\\u001b`: a person sees them, and JSON keeps its values.
"""

from __future__ import annotations

import re
from typing import Any

# C0 but for tab and line feed, DEL and C1; marks of direction, embeddings, overrides and isolates; separators of lines
# and paragraphs; invisible operators, byte order marks, annotations and tags; lone surrogates. Joiners stay: emoji and
# several scripts need them.
CONTROLS = (
    "\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
CONTROL = re.compile(f"[{CONTROLS}]")
CONTROL_OR_BREAK = re.compile(f"[\t\n{CONTROLS}]")


def printable(text: str) -> str:
    """Returns a text of several lines as it may be shown."""
    return CONTROL.sub(lambda found: escaped(found[0]), text)


def one_line(text: str) -> str:
    """Returns a text that is part of a line, such as a name, a title or a detail: it cannot begin another line."""
    return CONTROL_OR_BREAK.sub(lambda found: escaped(found[0]), text)


def printable_values(values: Any) -> Any:
    """Returns JSON values with all their texts as they may be shown."""
    if isinstance(values, dict):
        return {printable(name): printable_values(one) for name, one in values.items()}
    if isinstance(values, list | tuple):
        return [printable_values(one) for one in values]
    return printable(values) if isinstance(values, str) else values


def escaped(characters: str) -> str:
    """Returns characters as JSON escapes them: in UTF-16, four hexadecimal digits each."""
    units = characters.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True))
