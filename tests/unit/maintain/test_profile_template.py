import re
import tomllib
from pathlib import Path

import pytest

import run
from tasks.contracts.errors import SettingsError
from tasks.contracts.profiles import load_settings
from tasks.maintain.profile_template import PROFILE, write_profile


def test_the_written_profile_is_valid_as_it_is(tmp_path: Path) -> None:
    write_profile(tmp_path / "my own.toml")
    settings = load_settings(str(tmp_path / "my own.toml"))
    assert settings.name == "my_own" and settings.search.sources[0].provider == "site"


def test_its_examples_are_valid_too(tmp_path: Path) -> None:
    """Each commented setting, uncommented."""
    example = re.compile(r"^# (?=\[\[|\w+ = )", re.MULTILINE)
    path = tmp_path / "all.toml"
    path.write_text(example.sub("", PROFILE.replace("{name}", "all")))
    assert {source["provider"] for source in tomllib.loads(path.read_text())["search"]["sources"]} == {
        *("google", "searxng", "brave", "feed", "sitemap", "site", "urls")
    }
    assert load_settings(str(path)).search.topics


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("precious")
    with pytest.raises(SettingsError, match="is there already"):
        write_profile(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["mine", "no/such/folder/mine.toml"])
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="mine"):
        write_profile(tmp_path / name)


def test_a_strange_name_gives_a_valid_profile(tmp_path: Path) -> None:
    path = tmp_path / 'a"b\\c\nd.toml'
    write_profile(path)
    assert load_settings(str(path)).name == "a_b_c_d"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run.main(["init"]) == 0
    assert "run.py --profile my.toml" in capsys.readouterr().out
    assert run.main(["init"]) == 2 and "is there already" in capsys.readouterr().err
    assert load_settings("./my.toml").name == "my"
