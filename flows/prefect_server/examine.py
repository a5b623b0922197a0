"""What `run.py doctor` says of Prefect: its server, its home, its database and who holds that. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from flows.prefect_server.configured import TURN, configured_url, prefect_home, trouble_with
from tasks.maintain.doctor import Finding

BUSY_SECONDS = 2.0


def examine_prefect() -> list[Finding]:
    home = prefect_home()
    return [*_server(), _home(home), *_database(home / "prefect.db"), *_turn(home / TURN)]


def _server() -> list[Finding]:
    url = configured_url()
    if not url:
        return []
    trouble = trouble_with(url)
    if trouble:
        return [Finding("prefect", False, f"PREFECT_API_URL ({url}) {trouble}: correct it, or start that server")]
    return [Finding("prefect", True, f"the server at {url} answers")]


def _home(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if os.access(existing, os.W_OK):
        return Finding("prefect home", True, str(home))
    return Finding("prefect home", False, f"{home} cannot be written: set PREFECT_HOME to a folder that can")


def _database(path: Path) -> list[Finding]:
    """A lock for writing that cannot be had within seconds is held by somebody who hangs, or was stopped."""
    if not path.is_file() or not os.access(path, os.W_OK):
        return []
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            db.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        advice = f"another program holds it; `fuser {path}` names it"
        return [Finding("prefect database", False, f"{path}: {error}; {advice}")]
    except sqlite3.DatabaseError as error:
        return [Finding("prefect database", False, f"{path}: {error}; move it away, and Prefect makes a new one")]
    return [Finding("prefect database", True, f"{path}, {path.stat().st_size / 1e6:.0f} MB")]


def _turn(path: Path) -> list[Finding]:
    if not path.exists() or not os.access(path, os.R_OK):
        return []
    with open(path, "rb") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return [Finding("prefect lock", True, f"another run is starting a server (`fuser {path}` names it)")]
    return []
