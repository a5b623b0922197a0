"""Damaged bytes are noticed where they are read: token files, small records."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from model.data.commit_record import CommittedFile, TokensDamagedError
from model.data.digests import MEGABYTE, damaged_blocks, digests_from, extended, read_record, record_text
from model.data.tokens import Tokens

GENERATOR = random.Random(22)


def flip(path: Path, place: int | None = None) -> int:
    """Flips one bit of a file, at a random place where none is given."""
    content = bytearray(path.read_bytes())
    place = GENERATOR.randrange(len(content)) if place is None else place
    content[place] ^= 1 << GENERATOR.randrange(8)
    path.write_bytes(content)
    return place


def grown(path: Path, *lengths: int) -> list[str]:
    """Appends random bytes, piece by piece. Returns the digests."""
    digests: list[str] = []
    path.write_bytes(b"")
    for length in lengths:
        before = path.stat().st_size
        path.write_bytes(path.read_bytes() + GENERATOR.randbytes(length))
        digests = extended(path, digests, before, before + length)
    return digests


def test_digests_do_not_depend_on_how_a_file_grew(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    digests = grown(path, 10, MEGABYTE - 10, 0, 2 * MEGABYTE + 1, 7, 5)
    assert digests == digests_from(path, 0, path.stat().st_size) and len(digests) == 4


def test_the_end_of_a_damaged_file_gets_no_new_digest(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    digests, before = grown(path, MEGABYTE + 100), MEGABYTE + 100
    flip(path, MEGABYTE + GENERATOR.randrange(100))
    with pytest.raises(ValueError, match="its megabyte 1 differs"):
        extended(path, digests, before, before)


def test_every_flipped_bit_is_found_in_its_megabyte(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    digests = grown(path, 3 * MEGABYTE + 500)
    whole = path.read_bytes()
    for _ in range(20):
        place = flip(path)
        assert list(damaged_blocks(path, digests, len(whole))) == [place // MEGABYTE]
        path.write_bytes(whole)
    path.write_bytes(whole[:-1])
    assert list(damaged_blocks(path, digests, len(whole))) == [3]


def test_only_the_megabytes_that_are_read_are_checked_and_a_damaged_one_is_never_read(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    digests = grown(path, 4 * MEGABYTE)
    ids, each = np.frombuffer(path.read_bytes(), "<u2"), MEGABYTE // 2
    flip(path, 2 * MEGABYTE + 5)
    tokens = Tokens(path, len(ids), CommittedFile(path, 4 * MEGABYTE, digests))
    batch = np.array([[0, each - 1], [each, 4 * each - 1]])
    assert (tokens[batch] == ids[batch]).all() and (tokens[each : each + 9] == ids[each : each + 9]).all()
    assert tokens.unchecked.tolist() == [False, False, True, False]
    for damaged in (np.array([2 * each]), slice(2 * each - 1, 2 * each + 1)):
        with pytest.raises(TokensDamagedError, match="megabyte 2"):
            tokens[damaged]


def test_a_record_is_what_was_written_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    path.write_text(record_text({"tokens": 12, "share": 1e-05, "names": ["a", "é"]}))
    whole = path.read_bytes()
    assert read_record(path)["tokens"] == 12
    for place in range(len(whole)):
        flip(path, place)
        with suppress(ValueError):  # or its digest's own name was hit, which looks like an earlier version's record
            assert "metadata_digest" not in read_record(path)
        path.write_bytes(whole)
    for other in (b"", b"[" * 100_000, b"\0" * len(whole), whole[:-2], whole.replace(b"\n", b" "), b"[]"):
        path.write_bytes(other)
        with pytest.raises(ValueError):
            read_record(path)
