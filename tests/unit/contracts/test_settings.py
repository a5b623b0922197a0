from __future__ import annotations

from pathlib import Path

import pytest

from tasks.contracts.errors import SettingsError
from tasks.contracts.profiles import load_settings, parse_override


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["nightly", "demo", "colab"])
def test_shipped_profiles_are_valid(name: str) -> None:
    assert load_settings(name).search.sources


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nstep = 5", ["unknown setting train.step", "own.toml", "steps"]),
        ("[train]\nsteps = -1", ["train.steps", "at least 0"]),
        ("[train]\nsteps = 'many'", ["train.steps", "int", "'many'"]),
        ("[train]\nsteps = true", ["train.steps", "int"]),
        ("[train]\nminutes = nan", ["train.minutes", "finite"]),
        ("[render]\nbrowser = 'firefox'", ["render.browser", "auto, never, always"]),
        ('[render]\ncontact = "me\\r\\nX-Other: 1"', ["render.contact", "printable"]),
        ("[search]\nsources = 3", ["search.sources", "list"]),
        ("[[search.sources]]\nprovider = 'site'", ["search.sources[0]", "start page"]),
        ("[[search.sources]]\nurl = 'ftp://x.example/'", ["ftp://x.example/", "http"]),
        ("train = 3", ["train", "table"]),
        ("[train]\nn_head = 3", ["train", "n_embd (256)", "n_head (3)"]),
        ("[train]\nsteps = 0", ["train", "steps and minutes are both 0"]),
        ("[train]\nn_kv_head = 3", ["n_kv_head (3)"]),
        ("[train]\nmuon_learning_rate = 0", ["train.muon_learning_rate", "at least"]),
        ("[[search.sources]]\nurl = 'http://[x'", ["http://[x"]),
        ("name = '../out'", ["../out", "letters"]),
        ("[search]\nallow_loopback = true", ["search.allow_loopback", "list"]),
        ("[search]\nallow_loopback = ['127.0.0.1']", ["search.allow_loopback", "port"]),
        ("[search]\nallow_loopback = ['10.0.0.1:80']", ["search.allow_loopback", "this machine"]),
        ("[search]\nallow_loopback = ['localhost:80']", ["search.allow_loopback", "'127.0.0.1:8765'"]),
        ("[train", ["not valid TOML"]),
    ],
)
def test_a_broken_profile_names_file_field_and_what_is_allowed(tmp_path: Path, text: str, said: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text))
    assert all(part in str(caught.value) for part in said), str(caught.value)


def test_a_contact_address_goes_with_the_user_agent(tmp_path: Path) -> None:
    render = load_settings(write(tmp_path, "[render]\nuser_agent = 'me/1'\ncontact = 'me@example.org'")).render
    assert (render.introduction, render.user_agent) == ("me/1 (contact: me@example.org)", "me/1")


def test_a_missing_profile_names_the_shipped_ones() -> None:
    with pytest.raises(SettingsError, match="demo, nightly"):
        load_settings("nigthly")


def test_overrides_win_and_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path, "[train]\nsteps = 5")
    assert load_settings(path, {"train.steps": 7}).train.steps == 7
    with pytest.raises(SettingsError, match=r"train\.steps"):
        load_settings(path, {"train.steps": -1})


def test_override_values_are_toml_or_text() -> None:
    assert parse_override("train.steps=50") == ("train.steps", 50)
    assert parse_override("name=my night") == ("name", "my night")
    with pytest.raises(SettingsError, match=r"section\.field=value"):
        parse_override("train.steps")


def test_a_list_of_urls_is_found_beside_its_profile(tmp_path: Path) -> None:
    path = write(tmp_path, "[[search.sources]]\nprovider = 'urls'\nfile = 'urls.txt'")
    assert load_settings(path).search.sources[0].file == str(tmp_path / "urls.txt")
