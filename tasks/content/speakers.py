"""Who speaks in a thread: the line above each post, which looks like a label and is part of the text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.content.block_odds import template
from tasks.content.text_blocks import Block

WORDS = 12  # of a line at most
BEFORE = 6  # blocks from the line to the first of its post, at most
SHARE = 0.7  # of the lines of one template, that must have a post
# Classes of phpBB, vBulletin, XenForo, Discourse, Invision, NodeBB and others.
NAMES = re.compile(
    r"(?:^|[ _-])(?:author|by-?line|(?:user|member|message|poster|nick|screen)-?name|posted-?by|poster"
    r"|user-?(?:link|text)|crawler-post-meta|author-pane_author)(?:$|[ _-])"
)


def speakers(blocks: Sequence[Block], posts: Sequence[int]) -> list[int]:
    """Returns the places of the lines that say who wrote a post.

    Args:
        blocks: all blocks of a forum's page.
        posts: places of those that are its text, in order.
    """
    taken = set(posts)
    lines: dict[str, list[int]] = {}
    for at, block in enumerate(blocks):
        is_name = 0 < block.size <= WORDS and NAMES.search(block.element.names) and any(map(str.isalpha, block.text))
        if is_name and at not in taken:
            lines.setdefault(template(block.element), []).append(at)
    found = []
    for places in lines.values():
        above = [at for at in places if not taken.isdisjoint(range(at + 1, at + 1 + BEFORE))]
        if len({blocks[at].text for at in places}) > 1 and len(above) >= SHARE * len(places):
            found += above
    return found
