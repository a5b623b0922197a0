from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tasks.processes.surroundings import give_home


@pytest.mark.parametrize(
    ("home", "given"), [("own", False), ("own/not/made/yet", False), ("/dev/null", True), ("/dev/null/me", True)]
)
def test_a_home_that_can_be_written_or_made_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, given: bool
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    give_home(tmp_path / "home")
    assert os.environ["HOME"] == str(tmp_path / ("home" if given else home))
    assert (tmp_path / "home").exists() is given


def test_nothing_tells_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    give_home(tmp_path / "home")
    assert os.environ["HOME"] == str(tmp_path / "home")
