"""Personal data becomes a constant placeholder: e-mail addresses, phone numbers, IP addresses.

What is recognised is written in `pii_emails.py`, `pii_phones.py` and `pii_ip_addresses.py`; how much of what real
pages have is found, and how little of what only looks like it, in `benchmarks/results/cleaning.json`. Everything is
found from a cheap look for what each kind needs (an @, a run of digits, two colons), so that ordinary text costs
little; every pattern is bounded.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from tasks.clean.pii_emails import find_email_addresses
from tasks.clean.pii_ip_addresses import find_ip_addresses
from tasks.clean.pii_phones import find_phone_numbers

EMAIL, PHONE, IP = "[email]", "[phone]", "[ip]"

# Other forms of the signs in numbers and addresses, each one character for one.
PLAIN = (
    dict(zip("\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19", "0123456789", strict=True))
    | dict(zip("\uff08\uff09\uff0b\uff0d\uff0e\uff0f\uff1a\uff20", "()+-./:@", strict=True))
    | dict.fromkeys("\xa0\u2002\u2003\u2007\u2009\u200a\u202f\u3000", " ")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
)
UNUSUAL = re.compile(f"[{''.join(PLAIN)}]")

FINDERS = ((EMAIL, find_email_addresses), (IP, find_ip_addresses), (PHONE, find_phone_numbers))


def replace_personal_data(text: str) -> str:
    """Returns the text with each address and number replaced by its placeholder; all else stays as it is."""
    plain = text if text.isascii() else UNUSUAL.sub(lambda sign: PLAIN[sign[0]], text)
    found = [(start, end, placeholder) for placeholder, find in FINDERS for start, end in find(plain)]
    if not found:
        return text
    pieces, done = [], 0
    for start, end, placeholder in sorted(_without_overlaps(found)):
        pieces += [text[done:start], placeholder]
        done = end
    return "".join([*pieces, text[done:]])


def _without_overlaps(found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Returns spans of which no two overlap: the kinds in order of FINDERS, and of one kind the longer span."""
    kept: list[tuple[int, int, str]] = []
    for kind, _ in FINDERS:
        spans = sorted(((start, end) for start, end, of in found if of == kind), key=lambda span: (span[0], -span[1]))
        taken, done = sorted(kept), 0
        for start, end in spans:
            if start >= done and not _overlaps(start, end, taken):
                kept.append((start, end, kind))
                done = end
    return kept


def _overlaps(start: int, end: int, taken: list[tuple[int, int, str]]) -> bool:
    place = bisect_left(taken, (end, 0, ""))
    return place > 0 and taken[place - 1][1] > start
