"""Bodies whose compression is not what the header says."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from tasks.contracts.outcomes import PageRejected
from tasks.web.content_encoding import STEP, decoded

PAGE = b"<!DOCTYPE html><title>Tides</title>" + b"".join(b"<p>Tide %d</p>" % number for number in range(5000))
PACKED = gzip.compress(PAGE)
RAW_DEFLATE = zlib.compress(PAGE)[2:-4]


def read(body: bytes, declared: str, size: int = STEP, is_text: bool = True) -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(decoded(pieces, declared, 1_000_000, is_text=is_text))


@pytest.mark.parametrize("size", [1, 7, STEP])
@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("", PAGE),
        ("identity", PAGE),
        ("gzip", PACKED),
        (" X-GZIP ", PACKED),
        ("gzip", PAGE),
        ("deflate", PAGE),
        ("br", PAGE),
        ("utf-8", PAGE),
        ("none", PACKED),
        ("", PACKED),
        ("gzip, gzip", PACKED),
        ("gzip,gzip", gzip.compress(PACKED)),
        ("gzip", gzip.compress(PACKED)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", RAW_DEFLATE),
        ("deflate", PACKED),
        ("gzip", zlib.compress(PAGE)),
        ("deflate, gzip", gzip.compress(RAW_DEFLATE)),
        ("gzip", PACKED + b"\0" * 512),
        ("gzip", PACKED + b"<!-- from the cache -->"),
        ("gzip", gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:])),
        ("gzip", PACKED[:-8] + b"\0" * 8),  # a wrong checksum
        ("gzip", PACKED[:-5]),
    ],
)
def test_the_page_comes_out_whatever_the_header_says(declared: str, body: bytes, size: int) -> None:
    assert read(body, declared, size) == PAGE


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40])
def test_what_came_before_the_damage_is_kept(damage: bytes) -> None:
    noise = random.Random(1).randbytes(3000).hex().encode()
    cut = gzip.compress(PAGE + noise)[:-1000] + damage
    found = read(cut, "gzip")
    assert found.startswith(PAGE) and noise.startswith(found[len(PAGE) : -200])


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        ("gzip", b"\x1f\x8b\x08" + PAGE),
        ("gzip", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        ("br", b"\x0b\x05\x80tide"),
        ("zstd", b"\x28\xb5\x2f\xfd tide"),
        ("gzip, gzip, gzip, gzip", PACKED),
    ],
)
def test_what_nobody_can_read_has_a_name(declared: str, body: bytes) -> None:
    with pytest.raises(PageRejected, match="bad_encoding"):
        read(body, declared)


def test_a_file_is_no_page_because_it_is_packed() -> None:
    archive = gzip.compress(b"tide.txt" + b"\0" * 504 + b"A tide.")
    assert read(archive, "") == archive
    assert read(PACKED, "", is_text=False) == PACKED, "a packed sitemap is unpacked by who reads it"


def test_a_bomb_comes_in_small_pieces_and_none_hides_in_another() -> None:
    zeros = gzip.compress(b" " * 10_000_000)
    assert max(map(len, decoded([zeros], "gzip", 1_000, is_text=False))) <= STEP

    nothing = gzip.compress(gzip.compress(b"") * 3_000_000)
    with pytest.raises(PageRejected, match="too_large"):
        list(decoded([nothing], "gzip, gzip", 100_000, is_text=True))
