from __future__ import annotations

from pathlib import Path

import pytest

from tasks.storage.atomic_files import read_json, replacing, write_atomically, write_json


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(OSError, match="full"), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError("the disk is full")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_read_only_leftover_of_a_kill_is_in_nobodys_way(tmp_path: Path) -> None:
    path, leftover = tmp_path / "file", tmp_path / ".file.tmp"
    leftover.write_bytes(b"half")
    leftover.chmod(0o444)
    write_atomically(path, b"new", mode=0o444)
    assert path.read_bytes() == b"new" and path.stat().st_mode & 0o777 == 0o444 and not leftover.exists()


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    assert read_json(path) is None
    write_json(path, {"b": 1, "a": "\u00e9"})
    assert read_json(path) == {"b": 1, "a": "\u00e9"}
    path.write_bytes(path.read_bytes()[:-4])
    assert read_json(path) is None


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '"text"', "null"])
def test_a_record_that_is_gone_damaged_or_of_another_kind_is_none(tmp_path: Path, content: str | None) -> None:
    """Whoever asks makes it anew, and must not stumble over a list where a table belongs."""
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1} and read_json(path, list) is None
