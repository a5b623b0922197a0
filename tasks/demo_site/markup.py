"""Turns plain text, reStructuredText and Markdown into simple HTML, well enough for a site to be read.

It parses neither language: blank lines separate blocks, underlined lines are headings, indented code is `<pre>`, and
indented prose (frequent in the reST of docstrings) is a paragraph. docutils would do more, but the site must run
from the standard library alone.
"""

import html
import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import groupby

_RULE = re.compile(r"([=\-~^\"'*+#`_:.])\1{2,}\s*$")
_ITEM = re.compile(r"( {0,3})([*+•-]|\d{1,3}[.)])( {1,4})(?=\S)")
_DIRECTIVE = re.compile(r"\.\.(?: +([\w-]+)::(.*)|(?: .*)?)$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_HASHES = re.compile(r"(#{1,6})\s+(.*?)[\s#]*$")
_TABLE = re.compile(r"\s*(\|(?![\w-]+\|)|\+[-=+]{3,}|={3,} +=)")
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "doctest", "parsed-literal", "testcode", "highlight"}
_PROSE_DIRECTIVES = {"note", "warning", "tip", "important", "epigraph", "deprecated", "versionadded", "versionchanged"}
_HTML_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HTML_TAG = re.compile(
    r"</?(?:p|div|img|a|h[1-6]|br|hr|b|i|em|strong|sup|sub|kbd|code|pre|details|summary|picture|source|span|center"
    r"|table|thead|tbody|tr|td|th|ul|ol|li|blockquote|video)\b[^<>]{0,1000}>",
    re.IGNORECASE,
)
_INLINE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[!\[[^\]\n]{0,200}\]\([^)\s]{0,500}\)\]\([^)\s]{0,500}\)"), ""),  # a linked badge
    (re.compile(r"!\[[^\]\n]{0,200}\]\([^)\n]{0,500}\)"), ""),  # a picture
    (re.compile(r"\[!\[[^\]\n]{0,200}\]\[[^\]\n]{0,80}\]\](?:\[[^\]\n]{0,80}\]|\([^)\s]{0,500}\))"), ""),
    (re.compile(r"``([^`\n]{1,300})``"), r"<code>\1</code>"),
    (re.compile(r"`([^`]{1,200}?)\s*&lt;(https://[^\s`]{1,500}?)&gt;`__?"), r'<a href="\2">\1</a>'),
    (re.compile(r"`([^`]{1,200}?)\s*&lt;[^`]{1,500}?&gt;`__?"), r"\1"),
    (re.compile(r":[\w:+-]{1,30}:`([^`]{1,200}?)\s*&lt;[^`]{1,300}?&gt;`"), r"\1"),
    (re.compile(r":[\w:+-]{1,30}:`[~!]?([^`]{1,200})`"), r"<code>\1</code>"),
    (re.compile(r"`([^`\n]{1,200})`__?(?!\w)"), r"\1"),
    (re.compile(r"`([^`\n]{1,200})`"), r"<code>\1</code>"),
    (re.compile(r"\[([^\[\]]{1,200})\]\((https://[^)\s]{1,500})[^)\n]{0,100}\)"), r'<a href="\2">\1</a>'),
    # A relative link of a README would point nowhere on this site: its words stay, the address goes.
    (re.compile(r"\[([^\[\]]{1,200})\]\([^)\n]{1,500}\)"), r"\1"),
    (re.compile(r"\[([^\[\]]{1,200})\]\[[^\]\n]{0,80}\]"), r"\1"),
    (re.compile(r"\*\*([^*\n]{1,200})\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"(?<![\w*])\*(\w[\w .'-]{0,80})(?<! )\*(?![\w*])"), r"<em>\1</em>"),
    (re.compile(r"\|[\w .-]{1,40}\|"), ""),  # a reST substitution: badges again
)


def to_html(text: str, markdown: bool = False) -> str:
    """Returns `text` as HTML blocks, each on lines of its own; all text is escaped."""
    if markdown:
        text = _HTML_COMMENT.sub("", text)
    return "\n".join(_blocks(text.expandtabs().splitlines(), markdown))


def inline(text: str, markdown: bool = False) -> str:
    """Returns a run of prose as HTML: escaped, its lines joined, with links, code and emphasis."""
    if markdown:
        text = _HTML_TAG.sub(" ", text)
    text = html.escape(" ".join(text.split()), quote=True).replace("&#x27;", "'").replace("&quot;", '"')
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text.strip()


def _blocks(lines: list[str], markdown: bool) -> Iterator[str]:
    """Looks at the line under `at`, turns the block that begins there into HTML, and goes on at `stop`, behind it."""
    at, literal = 0, False  # literal: the paragraph before ended in "::"
    while at < len(lines):
        line, following = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
        stop = at + 1
        after, literal = literal, literal and not line.strip()
        if not line.strip():
            pass
        elif fence := _FENCE.match(line):
            stop = next((n for n in range(stop, len(lines)) if lines[n].strip().startswith(fence[1])), len(lines)) + 1
            yield _pre(lines[at + 1 : stop - 1])
        elif heading := _HASHES.match(line) if markdown else None:
            yield _heading(heading[2], 2 if len(heading[1]) < 3 else 3, markdown)
        elif _RULE.match(line):  # over a title, or a line across the page
            if at + 2 < len(lines) and _RULE.match(lines[at + 2]) and following.strip():
                yield _heading(following, 2, markdown)
                stop = at + 3
        elif line[0] != " " and _RULE.match(following) and not _ITEM.match(line):
            yield _heading(line, 2 if following[0] in "=*#" else 3, markdown)
            stop = at + 2
        elif (directive := _DIRECTIVE.match(line)) and not markdown:
            stop = _end_of_indented(lines, stop, 1)
            yield from _directive(directive[1], directive[2] or "", lines[at + 1 : stop])
        elif _TABLE.match(line) or line.lstrip().startswith(">>>"):
            stop = _end(lines, at, str.strip)
            yield _pre(lines[at:stop])
        elif (item := _ITEM.match(line)) and not after:
            stop = _end_of_list(lines, at)
            yield _list(lines[at:stop], item, markdown)
        elif line[0] == " " and (after or not markdown or re.match(r" {4,}[^ <]", line)):
            stop = _end_of_indented(lines, at, 1)
            yield from _indented(lines[at:stop], after, markdown)
        else:
            stop = _end(lines, stop, lambda inner: _continues(inner, markdown))
            text = "\n".join(lines[at:stop]).strip()
            literal = text.endswith("::") and not markdown
            body = inline(text.removesuffix(":") if literal else text, markdown)
            if re.search(r"\w", re.sub(r"<[^>]*>", "", body)):  # a row of badges leaves nothing
                yield f"<p>{body}</p>"
        at = stop


def _continues(line: str, markdown: bool) -> bool:
    """Returns whether a line belongs to the paragraph before it."""
    begins_another = _ITEM.match(line) or _FENCE.match(line) or (markdown and _HASHES.match(line))
    return bool(line.strip()) and not line.startswith("  ") and not begins_another


def _end(lines: list[str], at: int, belongs: Callable[[str], object]) -> int:
    """Returns the place of the first line from `at` on that does not belong."""
    return next((place for place in range(at, len(lines)) if not belongs(lines[place])), len(lines))


def _end_of_indented(lines: list[str], at: int, indent: int) -> int:
    """Returns where lines with at least this indent end; blank lines between them belong, those behind do not."""
    end = _end(lines, at, lambda line: not line.strip() or line.startswith(" " * indent))
    while end > at and not lines[end - 1].strip():
        end -= 1
    return end


def _end_of_list(lines: list[str], at: int) -> int:
    """A list holds items, lines indented under them, and unindented lines that continue an item."""
    while True:
        end = _end(lines, _end_of_indented(lines, at + 1, 2), lambda line: line.strip() and not _ITEM.match(line))
        at = _end(lines, end, lambda line: not line.strip())
        if at == len(lines) or not _ITEM.match(lines[at]):
            return end


def _list(lines: list[str], first: re.Match[str], markdown: bool) -> str:
    tag = "ol" if first[2][0].isdigit() else "ul"
    items: list[list[str]] = []
    for line in lines:
        marker = _ITEM.match(line)
        if marker and len(marker[1]) <= len(first[1]):
            items.append([line[marker.end() :]])
        else:
            items[-1].append(line)
    return "\n".join([f"<{tag}>", *(f"<li>{_item(item, markdown)}</li>" for item in items), f"</{tag}>"])


def _item(lines: list[str], markdown: bool) -> str:
    rest = textwrap.dedent("\n".join(lines[1:])).splitlines()
    split = _end(rest, 0, lambda line: line.strip() and not _ITEM.match(line))
    if split == len(rest):
        return inline("\n".join(lines), markdown)
    return "\n".join([inline("\n".join([lines[0], *rest[:split]]), markdown), *_blocks(rest[split:], markdown)])


def _indented(lines: list[str], literal: bool, markdown: bool) -> Iterator[str]:
    """Keeps indented code as it is and turns indented prose into paragraphs, chunk by chunk."""
    if literal or markdown:
        yield _pre(lines)
        return
    chunks = [chunk for chunk in re.split(r"\n\s*\n", textwrap.dedent("\n".join(lines))) if chunk.strip()]
    for prose, group in groupby(chunks, _is_prose):
        text = "\n\n".join(group)
        if prose:
            yield from _blocks(textwrap.dedent(text).splitlines(), markdown)
        else:
            yield _pre(text.splitlines())


def _is_prose(chunk: str) -> bool:
    """Guesses whether a chunk is sentences, not code: enough words, few signs, a beginning and an end."""
    text = chunk.strip()
    if _ITEM.match(text):
        return True
    if ">>>" in text or not re.match(r"[\w\"'`*(:-]", text):
        return False
    bare = re.sub(r"\"[^\"\n]*\"|`[^`\n]*`|\*\w+\*", "quoted", text)
    words = len(re.findall(r"\b[a-zA-Z]{2,}\b", bare))
    signs = len(re.findall(r"[=(){}\[\]<>|/\\#@%&+]", bare))
    return words >= 7 and signs * 8 < words and bool(re.search(r"[.:;,!?)][\"']?(\s|$)", text))


def _directive(name: str | None, argument: str, body: list[str]) -> Iterator[str]:
    """Shows the code and the notes of reST directives, but no pictures, targets and comments."""
    body = textwrap.dedent("\n".join(body)).splitlines()
    body = body[_end(body, 0, lambda line: not line.strip() or re.match(r":[\w-]+:", line)) :]
    if name in _CODE_DIRECTIVES and body:
        yield _pre(body)
    elif name in _PROSE_DIRECTIVES:
        yield from _blocks([argument.strip(), *body], markdown=False)


def _heading(text: str, level: int, markdown: bool) -> str:
    text = inline(text, markdown)
    return f"<h{level}>{text}</h{level}>" if text else ""  # a banner leaves no text


def _pre(lines: list[str]) -> str:
    text = textwrap.dedent("\n".join(lines)).strip("\n")
    return f"<pre><code>{html.escape(text, quote=False)}</code></pre>"
