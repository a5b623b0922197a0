"""Errors that a stranger's bytes raise have an outcome and a kept traceback; those of our own stop the run."""

import errno
import sqlite3
from pathlib import Path

import pytest

from tasks.contracts.errors import BrowserError
from tasks.contracts.outcomes import PageRejected
from tasks.web.border import MOST_TRACEBACKS, Border


@pytest.mark.parametrize(
    "error", [ValueError("x"), OverflowError(), RecursionError(), ConnectionResetError(), KeyError()]
)
def test_what_nobody_thought_of_is_an_outcome(error: Exception, tmp_path: Path) -> None:
    border = Border(tmp_path / "reports" / "tracebacks.txt")
    with pytest.raises(PageRejected) as rejected, border.crossing("http://a.example/\x1b[31m"):
        raise error
    assert rejected.value.reason == "unforeseen" and type(error).__name__ in rejected.value.detail
    kept = (tmp_path / "reports" / "tracebacks.txt").read_text()
    assert border.errors == 1 and "Traceback" in kept and "test_border.py" in kept
    assert kept.startswith("http://a.example/\\u001b[31m\n")


def test_a_named_outcome_stays() -> None:
    border = Border()
    with pytest.raises(PageRejected, match="timeout"), border.crossing("http://a.example/"):
        raise PageRejected("timeout")
    assert border.errors == 0


@pytest.mark.parametrize(
    "error",
    [
        BrowserError("x"),
        sqlite3.OperationalError("database or disk is full"),
        OSError(errno.ENOSPC, "no space left"),
        FileNotFoundError(errno.ENOENT, "no such file", "state/pages"),
    ],
)
def test_trouble_of_our_own_machine_stops_the_run(error: Exception) -> None:
    with pytest.raises(type(error)), Border().crossing("http://a.example/"):
        raise error


def test_a_million_bad_pages_do_not_fill_the_disk(tmp_path: Path) -> None:
    border = Border(tmp_path / "tracebacks.txt")
    for number in range(2 * MOST_TRACEBACKS):
        border.note(f"http://a.example/{number}", ValueError("the same"))
    assert border.errors == 2 * MOST_TRACEBACKS
    assert (tmp_path / "tracebacks.txt").read_text().count("ValueError") == MOST_TRACEBACKS
