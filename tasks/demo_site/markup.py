"""Plain text, reStructuredText and Markdown into simple HTML, well enough for a site to be read.

Not a parser of either language: blocks are parted by blank lines, underlined lines are headings, indented
code is `<pre>`, and indented prose (the reST of docstrings is full of it) is a paragraph. docutils would do
more, but the site must run from the standard library alone.
"""

import html
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby

_RULE = re.compile(r"([=\-~^\"'*+#`_:.])\1{2,}\s*$")
_ITEM = re.compile(r"( {0,3})([*+•-]|\d{1,3}[.)])( {1,4})(?=\S)")
_DIRECTIVE = re.compile(r"\.\.(?: +([\w-]+)::(.*)|(?: .*)?)$")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_HASHES = re.compile(r"(#{1,6})\s+(.*?)[\s#]*$")
_TABLE = re.compile(r"\s*(\|(?![\w-]+\|)|\+[-=+]{3,}|={3,} +=)")
_CODE_DIRECTIVES = {"code", "code-block", "sourcecode", "doctest", "parsed-literal", "testcode", "highlight"}
_PROSE_DIRECTIVES = {
    "note",
    "warning",
    "tip",
    "important",
    "versionadded",
    "versionchanged",
    "deprecated",
    "epigraph",
}
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
    """`text` as HTML blocks, one a line at least; safe to put in a page (everything is escaped)."""
    if markdown:
        text = _HTML_COMMENT.sub("", text)
    return "\n".join(_blocks(text.expandtabs().splitlines(), markdown))


def inline(text: str, markdown: bool = False) -> str:
    """One run of prose: escaped, its lines joined, with links, code and emphasis marked."""
    if markdown:
        text = _HTML_TAG.sub(" ", text)
    text = html.escape(" ".join(text.split()), quote=True).replace("&#x27;", "'").replace("&quot;", '"')
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text.strip()


def _blocks(lines: list[str], markdown: bool) -> Iterator[str]:
    """The reader: looks at the line under `at`, lets one kind of block eat its lines, and goes on."""
    at, literal = 0, False  # literal: the paragraph before ended in "::"
    while at < len(lines):
        line = lines[at]
        stop = at + 1
        if not line.strip():
            at = stop
            continue
        after, literal = literal, False
        if fence := _FENCE.match(line):
            while stop < len(lines) and not lines[stop].strip().startswith(fence[1]):
                stop += 1
            yield _pre(lines[at + 1 : stop])
            stop += 1
        elif heading := _HASHES.match(line) if markdown else None:
            yield _heading(heading[2], 2 if len(heading[1]) < 3 else 3, markdown)
        elif _RULE.match(line):  # over a title, or a line across the page
            if at + 2 < len(lines) and _RULE.match(lines[at + 2]) and lines[at + 1].strip():
                yield _heading(lines[at + 1], 2, markdown)
                stop = at + 3
        elif at + 1 < len(lines) and line[0] != " " and _RULE.match(lines[at + 1]) and not _ITEM.match(line):
            yield _heading(line, 2 if lines[at + 1][0] in "=*#" else 3, markdown)
            stop = at + 2
        elif (directive := _DIRECTIVE.match(line)) and not markdown:
            stop = _end_of_indented(lines, stop, 1)
            yield from _directive(directive[1], directive[2] or "", lines[at + 1 : stop])
        elif _TABLE.match(line) or line.lstrip().startswith(">>>"):
            stop = _end_of_chunk(lines, at)
            yield _pre(lines[at:stop])
        elif (item := _ITEM.match(line)) and not after:
            stop = _end_of_list(lines, at)
            yield _list(lines[at:stop], item, markdown)
        elif line[0] == " " and (after or not markdown or re.match(r" {4,}[^ <]", line)):
            stop = _end_of_indented(lines, at, 1)
            yield from _indented(lines[at:stop], after, markdown)
        else:
            while stop < len(lines) and _continues(lines[stop], markdown):
                stop += 1
            text = "\n".join(lines[at:stop]).strip()
            literal = text.endswith("::") and not markdown
            body = inline(text.removesuffix(":") if literal else text, markdown)
            if re.search(r"\w", re.sub(r"<[^>]*>", "", body)):  # a row of badges leaves nothing
                yield f"<p>{body}</p>"
        at = stop


def _continues(line: str, markdown: bool) -> bool:
    """Whether this line still belongs to the paragraph before it."""
    if not line.strip() or line.startswith("  ") or _ITEM.match(line) or _FENCE.match(line):
        return False
    return not (markdown and _HASHES.match(line))


def _end_of_chunk(lines: list[str], at: int) -> int:
    while at < len(lines) and lines[at].strip():
        at += 1
    return at


def _end_of_indented(lines: list[str], at: int, indent: int) -> int:
    """Where the lines indented by `indent` or more end; blank lines inside belong, those behind do not."""
    end = at
    for number in range(at, len(lines)):
        if lines[number].strip():
            if not lines[number].startswith(" " * indent):
                break
            end = number + 1
    return end


def _end_of_list(lines: list[str], at: int) -> int:
    """A list goes on over items, lines indented under them, and lazy continuations without a blank line."""
    while at < len(lines):
        end = _end_of_indented(lines, at + 1, 2)
        while end < len(lines) and lines[end].strip() and not _ITEM.match(lines[end]) and end > at:
            end += 1
        following = end
        while following < len(lines) and not lines[following].strip():
            following += 1
        if following >= len(lines) or not _ITEM.match(lines[following]):
            return end
        at = following
    return at


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
    if any(not line.strip() for line in rest) or any(_ITEM.match(line) for line in rest):
        split = next((n for n, line in enumerate(rest) if not line.strip() or _ITEM.match(line)), 0)
        head = inline("\n".join([lines[0], *rest[:split]]), markdown)
        return "\n".join([head, *_blocks(rest[split:], markdown)])
    return inline("\n".join(lines), markdown)


def _indented(lines: list[str], literal: bool, markdown: bool) -> Iterator[str]:
    """An indented region: code stays as it stands, prose becomes paragraphs, chunk by chunk."""
    lines = textwrap.dedent("\n".join(lines)).splitlines()
    if literal or markdown:
        yield _pre(lines)
        return
    chunks = [chunk for chunk in re.split(r"\n\s*\n", "\n".join(lines)) if chunk.strip()]
    for prose, group in groupby(chunks, _is_prose):
        text = "\n\n".join(group)
        if prose:
            yield from _blocks(textwrap.dedent(text).splitlines(), markdown)
        else:
            yield _pre(text.splitlines())


def _is_prose(chunk: str) -> bool:
    """Sentences rather than code: enough words, few signs, a beginning and an end. A guess."""
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
    """reST directives: code and notes are shown, pictures, targets and comments are not."""
    body = textwrap.dedent("\n".join(body)).splitlines()
    while body and (not body[0].strip() or re.match(r":[\w-]+:", body[0])):
        body.pop(0)
    if name in _CODE_DIRECTIVES and body:
        yield _pre(body)
    elif name in _PROSE_DIRECTIVES:
        yield from _blocks([argument.strip(), *body], markdown=False)


def _heading(text: str, level: int, markdown: bool) -> str:
    text = inline(text, markdown)
    return f"<h{level}>{text}</h{level}>" if text else ""  # of a banner nothing is left


def _pre(lines: list[str]) -> str:
    text = textwrap.dedent("\n".join(lines)).strip("\n")
    return f"<pre><code>{html.escape(text, quote=False)}</code></pre>"
