"""Bytes that are nearly right: mutations of good ones, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# What has broken parsers before, here or elsewhere.
WORDS = (
    *(b"http://", b"https://", b"//", b":99999/", b":abc/", b":-1/", b":\xc2\xb2/", b"[::1", b"]", b"http://[v1.x]/"),
    *(b"http://a:80:80/", b"http://\xed\xb2\x80/", b"http://[::1%eth0]/", b"http:///", b"http://?", b"http://a\\@b/"),
    *(b"\\ud800", b"&#xD800;", b"&#57343;", b"&#0;", b"&#99999999;", b"%00", b"%", b"\0", b"\x1b[2J", b"\xc2\x9b"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\xe2\x84\x80", b"\xef\xbc\x8e", b"xn--"),
    *(b"9" * 400, b"1e999", b"NaN", b"-1", b"\xc2\xb2", b"0000-00-00T99:99", b"9999-12-31T23:59:59-23:59"),
    *(b"Mon, 01 Jan 9999999999 00:00:00 GMT", b"0001-01-01T00:00:00+23:59"),
    *(
        b"xml:base='http://[x'",
        b"xml:base='http://h:99999/'",
        b"<base href='http://[::'>",
        b"<![CDATA[",
        b"]]>",
        b"&b;",
    ),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"<?xml version='1.0' encoding='utf-7'?>", b"encoding='utf-16'", b"<!--"),
    *(
        b"{" * 50,
        b"[" * 2000,
        b"null",
        b"<a>" * 300,
        b"\r\n",
        b"\t",
        b"\xe2\x80\xa8",
        b"\x1f\x8b\x08",
        b":",
        b";",
        b"=",
    ),
    *(b",", b"*", b"$", b"#", b"?", b"@", b"<", b">", b'"', b"'"),
)


def mutations(seeds: Sequence[bytes], number: int, seed: str) -> Iterator[bytes]:
    """Yields so many mutations: bits flipped; parts removed, doubled, cut off, replaced by words or parts of others."""
    chance = random.Random(seed)
    for _ in range(number):
        content = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 3, 5, 9))):
            _change(content, chance, seeds)
        yield bytes(content)


def _change(content: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> None:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((1, 2, 4, 9, 33, 200)))
    how = chance.randrange(8)
    if how == 0 and start < len(content):
        content[start] ^= 1 << chance.randrange(8)
    elif how == 1:
        del content[start:end]
    elif how == 2:
        content[start:start] = content[start:end]
    elif how == 3:
        content[start:end] = chance.choice(WORDS)
    elif how == 4:
        del content[start:]
    elif how == 5:
        other = chance.choice(seeds)
        begin = chance.randrange(len(other) + 1)
        content[start:start] = other[begin : begin + chance.choice((3, 20, 100))]
    else:
        content[start:start] = chance.choice(WORDS)
