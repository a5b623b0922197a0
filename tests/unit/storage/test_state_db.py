"""The state database: changes to what earlier versions left."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tasks.storage.state_db import open_state, upgrade_once


def test_an_upgrade_is_made_once_and_in_whole(tmp_path: Path) -> None:
    with closing(open_state(tmp_path / "state.sqlite")) as db:
        db.execute("CREATE TABLE lamps (height)")

        def light() -> None:
            db.execute("INSERT INTO lamps VALUES (31)")

        def light_and_fail() -> None:
            light()
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            upgrade_once(db, "lamps", light_and_fail)
        assert db.execute("SELECT count(*) FROM lamps").fetchone()[0] == 0
        upgrade_once(db, "lamps", light)
        upgrade_once(db, "lamps", light)
        upgrade_once(db, "other lamps", light)
        assert db.execute("SELECT count(*) FROM lamps").fetchone()[0] == 2
