"""The state database: sealed at an orderly end, set aside where it is damaged, and only there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tasks.contracts.errors import DataDirectoryError
from tasks.run_context import sealed_state
from tasks.storage.state_db import is_sealed, open_read_only, open_state, open_state_or_set_aside, open_state_to_read
from tests.unit.model.data.test_digests import flip

ROWS = 2000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Sealed."""
    path = tmp_path / "state.sqlite"
    with sealed_state(path, print) as db:
        db.execute("CREATE TABLE lamps (name TEXT, height INTEGER)")
        db.executemany("INSERT INTO lamps VALUES (?, ?)", [(f"lamp {n}", n) for n in range(ROWS)])
    assert is_sealed(path) and sorted(one.name for one in tmp_path.iterdir()) == ["state.sqlite", "state.sqlite.seal"]
    return path


def lamps(db: sqlite3.Connection) -> int:
    try:
        return int(db.execute("SELECT count(*) FROM lamps").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def reopened(path: Path) -> tuple[int, str | None]:
    """How many rows a run finds, and what it says."""
    db, said = open_state_or_set_aside(path)
    with closing(db):
        return lamps(db), said


def test_a_sealed_one_is_opened_and_a_run_that_is_killed_leaves_it_unsealed(database: Path) -> None:
    assert reopened(database) == (ROWS, None)
    assert not is_sealed(database)
    assert reopened(database) == (ROWS, None)  # without a seal: no damage


@pytest.mark.parametrize("round_", range(8))
def test_a_flipped_bit_anywhere_sets_a_sealed_one_aside(database: Path, round_: int) -> None:
    flip(database)
    with pytest.raises(DataDirectoryError, match="damaged"):
        open_state_to_read(database)
    rows, said = reopened(database)
    assert rows == 0 and said and "not what was sealed" in said


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: content[:-4096],
        lambda content: content[:5000] + os.urandom(9000) + content[14000:],
    ],
    ids=["half", "zeroed", "a page short", "overwritten"],
)
def test_a_truncated_or_overwritten_one_is_set_aside(
    database: Path, damage: Callable[[bytes], bytes], sealed: bool
) -> None:
    if not sealed:
        open_state(database).close()
    database.write_bytes(damage(database.read_bytes()))
    rows, said = reopened(database)
    assert rows == 0 and said and list(database.parent.glob("state.sqlite.damaged-*"))


def test_one_that_is_in_use_full_or_out_of_reach_is_kept(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = database.read_bytes()
    with closing(sqlite3.connect(database, isolation_level=None)) as other, closing(open_state(database)) as db:
        other.execute("BEGIN IMMEDIATE")
        db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("DELETE FROM lamps")
    with closing(open_state(database)) as db:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            db.executemany("INSERT INTO lamps VALUES (?, 0)", [("x" * 9000,)] * 9)

    real = sqlite3.connect

    def out_of_reach(path: Path, **options: object) -> sqlite3.Connection:
        return real(path / "not a folder", **options)  # type: ignore[call-overload, no-any-return]

    with monkeypatch.context() as patch, pytest.raises(sqlite3.OperationalError, match="unable to open"):
        patch.setattr(sqlite3, "connect", out_of_reach)
        open_state_or_set_aside(database)
    assert reopened(database) == (ROWS, None) and len(database.read_bytes()) == len(whole)


def test_what_only_reads_leaves_the_seal_and_the_file(database: Path) -> None:
    whole = database.read_bytes()
    for open_ in (open_state_to_read, open_read_only):
        with closing(open_(database)) as db:
            assert lamps(db) == ROWS
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                db.execute("DELETE FROM lamps")
    assert is_sealed(database) and database.read_bytes() == whole


def test_a_database_that_turned_out_to_be_damaged_is_not_sealed(database: Path) -> None:
    with pytest.raises(sqlite3.DatabaseError), sealed_state(database, print) as db:
        db.execute("SELECT nothing FROM nowhere")
    assert not is_sealed(database)
