"""Pages whose text comes from JavaScript: how they are recognised by their HTML, and which hosts have only such pages.

A host is remembered once several pages in a row needed Chromium and got their text there. For some days its pages then
go to Chromium at once: one request instead of two, and one pause. After that, plain HTTP is tried again.
"""

from __future__ import annotations

import re
import sqlite3
import threading

LITTLE_TEXT = 250  # characters; a page with scripts and less text probably gets its text from them
SOME_TEXT = 1500  # the same for a page with an empty app container: it may have navigation and notices
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
    rb"content|main|article)[\"' >][^<>]*>?\s*</\1>"
)
ASKS_FOR_SCRIPTS = re.compile(rb"(enable|requires?|needs?|without|turn on) javascript")
WITHOUT_TEXT = (b"script", b"style", b"noscript", b"template")
# A tag that matters (`<head` is not `<header`), any other tag, or text.
PIECE = re.compile(rb"<(script|style|noscript|template|/?head|body)(?=[\s>/])[^<>]*>?|<[^<>]*>|([^<]+|<)")


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


def needs_browser(body: bytes) -> bool:
    """Whether a page seems to get its text from scripts: it has little text, or an empty container for an app."""
    lower = body.lower()
    if b"<script" not in lower:
        return False
    text = visible_text_length(lower)
    if text < LITTLE_TEXT:
        return True
    return text < SOME_TEXT and bool(APP_SHELL.search(lower) or ASKS_FOR_SCRIPTS.search(lower))


def visible_text_length(lower: bytes) -> int:
    """Returns the bytes of text outside tags and scripts, with runs of white space as one; stops at `SOME_TEXT`.

    Takes linear time for any input. `lower` is the page in lower case.
    """
    length, position, in_head = 0, 0, False
    while length < SOME_TEXT and (piece := PIECE.match(lower, position)):
        position, name = piece.end(), piece[1]
        if name in WITHOUT_TEXT:
            position = lower.find(b"</" + name, position)
            if position < 0:
                break
        elif name is not None:
            in_head = name == b"head"
        elif piece[2] is not None and not in_head:
            words = piece[2].split()
            length += sum(map(len, words)) + len(words)
    return max(0, length - 1)
