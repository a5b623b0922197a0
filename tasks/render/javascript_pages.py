"""Pages whose text their HTML does not have: how they are recognised, and which hosts have only such pages.

Scripts bring it, or frames, or it is in declarative shadow roots, which only browsers put together.

A host is remembered once several pages in a row needed Chromium and got their text there. For some days its pages then
go to Chromium at once: one request instead of two, and one pause. After that, plain HTTP is tried again.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator

from tasks.browser.page_scripts import AROUND, NOTICE
from tasks.contracts.addresses import join_web_address
from tasks.contracts.urls import site_of

LITTLE_TEXT = 250  # characters; a page with scripts and less text probably gets its text from them
LONG_BLOCK = 1000  # words
SOME_TEXT = 1500  # the same for a page with an empty app container, or with a frame
IN_A_ROW = 3
KEEP_SECONDS = 7 * 86_400.0

TABLE = """
CREATE TABLE IF NOT EXISTS script_hosts (
    host TEXT PRIMARY KEY,
    pages INTEGER NOT NULL,         -- in a row that needed Chromium
    until REAL NOT NULL             -- epoch seconds; before, its pages go to Chromium at once
);
"""

APP_SHELL = re.compile(
    rb"<(div|main|section|article)\b[^<>]*\bid\s*=\s*[\"']?(?:root|app|application|__next|__nuxt|svelte|___gatsby|"
    rb"content|main|article)[\"' >][^<>]*>?\s*</\1>|<(main|article|(?:app|root|main)-[a-z0-9-]{1,40}|"
    rb"[a-z0-9]{1,40}-(?:app|root|shell|page|main|view|content|article|outlet))\b[^<>]*>\s*</\2>"
)
SKELETON = re.compile(rb"\baria-busy\s*=\s*[\"']?true|\bclass\s*=\s*[\"']?[^\"'<>]{0,200}(?:skeleton|shimmer)")
ASKS_FOR_SCRIPTS = re.compile(rb"(enable|requires?|needs?|without|turn on) javascript")
NOTICE_WORDS = re.compile(NOTICE.encode())
FRAMESET = re.compile(rb"<frameset[\s>]")
SHADOW_ROOT = re.compile(rb"<template\b[^<>]*\bshadowrootmode\s*=")
FRAME = re.compile(rb"<iframe\b[^<>]*?\s(?:(srcdoc)\s*=|src\s*=\s*[\"']?\s*([^\"'\s<>]+))", re.IGNORECASE)
MAX_FRAMES = 20  # looked at
WITHOUT_TEXT = (b"script", b"style", b"noscript", b"template", b"noframes", b"iframe")
AROUND_TAGS = tuple(map(str.encode, AROUND))
# A tag that matters (`<head` is not `<header`), a tag within a line, any other tag, or text.
PIECE = re.compile(
    rb"<(script|style|noscript|template|noframes|iframe|/?head|body|/?(?:nav|header|footer|aside))(?=[\s>/])[^<>]*>?|"
    rb"<(/?(?:a|abbr|b|br|code|em|i|small|span|strong|u)(?=[\s>/]))[^<>]*>|<[^<>]*>|([^<]+|<)"
)


class ScriptHosts:
    """Which hosts need Chromium, in the state database. `lock` guards the connection, which others use too."""

    def __init__(self, db: sqlite3.Connection, lock: threading.RLock) -> None:
        db.executescript(TABLE)
        self._db, self._lock = db, lock

    def knows(self, host: str, now: float) -> bool:
        """Whether the host's pages go to Chromium at once."""
        with self._lock:
            row = self._db.execute("SELECT until FROM script_hosts WHERE host = ?", (host,)).fetchone()
        return row is not None and now < row["until"] <= now + KEEP_SECONDS

    def note(self, host: str, needed: bool, now: float) -> None:
        """Notes whether a page of the host needed Chromium, after plain HTTP was tried first."""
        with self._lock:
            row = self._db.execute("SELECT pages FROM script_hosts WHERE host = ?", (host,)).fetchone()
            if not needed:
                self._db.execute("DELETE FROM script_hosts WHERE host = ?", (host,))
                return
            pages = (row["pages"] if row else 0) + 1
            until = now + KEEP_SECONDS if pages >= IN_A_ROW else 0.0
            self._db.execute("INSERT OR REPLACE INTO script_hosts VALUES (?, ?, ?)", (host, pages, until))


def needs_browser(body: bytes, url: str) -> bool:
    """Whether a page seems to have its text elsewhere than in its HTML: it has little text, or an empty container."""
    lower = body.lower()
    if FRAMESET.search(lower) or SHADOW_ROOT.search(lower):
        return True
    has_scripts, has_frames = b"<script" in lower, _has_own_frame(body, url)
    if not (has_scripts or has_frames):
        return False
    text = main_text_length(lower)
    if text < LITTLE_TEXT or has_frames:
        return text < SOME_TEXT
    is_unfinished = APP_SHELL.search(lower) or SKELETON.search(lower) or ASKS_FOR_SCRIPTS.search(lower)
    return text < SOME_TEXT and bool(is_unfinished)


def _has_own_frame(body: bytes, url: str) -> bool:
    """Whether a frame has a document of the page's own host: others are videos, maps and advertisements."""
    for is_written, source in FRAME.findall(body)[:MAX_FRAMES]:
        address = None if is_written else join_web_address(url, source.decode("utf-8", "replace"))
        if is_written or (address is not None and site_of(address) == site_of(url)):
            return True
    return False


def visible_text_length(lower: bytes) -> int:
    """Returns the bytes of text outside tags and scripts, with runs of white space as one; stops at `SOME_TEXT`.

    Takes linear time for any input. `lower` is the page in lower case.
    """
    length = 0
    for words, _ in _blocks(lower):
        length += sum(map(len, words)) + len(words)
        if length > SOME_TEXT:
            break
    return max(0, length - 1)


def main_text_length(lower: bytes) -> int:
    """Returns the same without navigation, headers and footers, and without what speaks of cookies or of loading."""
    length = 0
    for words, is_around in _blocks(lower):
        if not is_around and not NOTICE_WORDS.search(b" ".join(words)):
            length += sum(map(len, words)) + len(words)
        if length > SOME_TEXT:
            break
    return max(0, length - 1)


def _blocks(lower: bytes) -> Iterator[tuple[list[bytes], bool]]:
    """Yields the words of each block of text, and whether it stands in what is around a page's text."""
    words: list[bytes] = []
    position, in_head, around = 0, False, 0
    while piece := PIECE.match(lower, position):
        position, name = piece.end(), piece[1]
        if piece[3] is not None:
            words += [] if in_head else piece[3].split()
        if (piece[2] is None and piece[3] is None) or len(words) > LONG_BLOCK:
            if words:
                yield words, around > 0
                words = []
            if name in WITHOUT_TEXT:
                position = lower.find(b"</" + name, position)
                if position < 0:
                    break
            elif name in AROUND_TAGS:
                around += 1
            elif name is not None and name.removeprefix(b"/") in AROUND_TAGS:
                around = max(0, around - 1)
            elif name is not None:
                in_head = name == b"head"
    yield words, around > 0
