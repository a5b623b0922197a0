"""What people type and what they get: options, settings, exit codes, flow parameters, deployments."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from run import make_parser
from tests.golden.support import PROJECT, Json, check, run, table_rows

TIME = re.compile(r"\d{8}_\d{6}")
SITE = "[[search.sources]]\n"
# A name for each and what stands in the profile; then, of wrong uses, the words after `run.py`.
BAD_PROFILES: dict[str, str] = {
    "unknown setting": "[train]\nstep = 5",
    "unknown section": "[trian]\nsteps = 5",
    "unknown setting of a source": SITE + "url = 'https://x.example/'\ndepth = 3",
    "unknown setting of search": "[search]\nmax_page = 3",
    "unknown setting of render": "[render]\ndelay = 3",
    "unknown setting of extract": "[extract]\nworker = 3",
    "unknown setting of clean": "[clean]\nmin_word = 3",
    "unknown setting of dedup": "[dedup]\njaccard = 3",
    "unknown setting of tokenize": "[tokenize]\nvocab = 3",
    "unknown setting of demo": "[demo]\nnights = 3",
    "text for a whole number": "[train]\nsteps = 'many'",
    "bool for a whole number": "[train]\nsteps = true",
    "float for a whole number": "[train]\nsteps = 2.5",
    "bool for a float": "[train]\nminutes = true",
    "whole number for a bool": "[search]\nblock_adult = 1",
    "whole number for text": "[render]\ncontact = 3",
    "list for text": "[render]\nuser_agent = ['a']",
    "text for a list": "[search]\ntopics = 'harbours'",
    "whole number within a list": "[search]\ntopics = [1]",
    "below its bounds": "[train]\nsteps = -1",
    "nothing bounds the night": "[train]\nsteps = 0",
    "above its bounds": "[search]\nmax_pages = 1_000_001",
    "above its bounds, float": "[train]\nnew_share = 0.95",
    "out of bounds within a list": "[train]\naverage_shares = [0.1, 2]",
    "no number": "[train]\nminutes = nan",
    "infinite": "[render]\ndelay_seconds = inf",
    "not among the choices": "[render]\nbrowser = 'firefox'",
    "provider not among the choices": SITE + "provider = 'bing'",
    "value for a table": "train = 3",
    "value for a list of tables": "[search]\nsources = 3",
    "bad TOML": "[train",
    "site without url": SITE + "provider = 'site'",
    "feed without url": SITE + "provider = 'feed'",
    "urls without any": SITE + "provider = 'urls'",
    "searxng without base_url": SITE + "provider = 'searxng'",
    "brave over http": "[search]\ntopics = ['a']\n" + SITE + "provider = 'brave'\nbase_url = 'http://brave.example'",
    "search engine without topics": SITE + "provider = 'google'",
    "no web address": SITE + "url = 'ftp://x.example/'",
    "bad port": SITE + "url = 'http://x.example:99999/'",
    "bad IPv6 address": SITE + "url = 'http://[x'",
    "empty topic": "[search]\ntopics = ['a', ' ']",
    "allow_loopback without a port": "[search]\nallow_loopback = ['127.0.0.1']",
    "allow_loopback elsewhere": "[search]\nallow_loopback = ['10.0.0.1:80']",
    "user agent on two lines": '[render]\nuser_agent = "me\\r\\nX-Other: 1"',
    "contact not in ASCII": "[render]\ncontact = 'jürgen@example.org'",
    "n_embd no multiple": "[train]\nn_embd = 100\nn_head = 3",
    "n_embd an odd multiple": "[train]\nn_embd = 99\nn_head = 3\nn_kv_head = 3",
    "n_kv_head no divisor": "[train]\nn_kv_head = 3",
    "bad name": "name = '../out'",
    "missing blocklist": "[search]\nblocklists = ['missing.txt']",
    "bad blocklist": "[search]\nblocklists = ['bad_list.txt']",
}
WRONG_USES: dict[str, list[str]] = {
    "profile that is not there": ["--profile", "TMP/missing.toml", "collect"],
    "profile that no name has": ["--profile", "nigthly", "collect"],
    "--set without a value": ["--set", "train.steps", "collect"],
    "--set without a name": ["--set", "=5", "collect"],
    "--set of a section that is none": ["--set", "name.part=1", "collect"],
    "--set out of bounds": ["--set", "train.steps=-1", "collect"],
    "--set of text": ["--set", "train.steps=abc", "collect"],
    "--steps out of bounds": ["--steps", "0", "train"],
    "--steps not a number": ["--steps", "many", "train"],
    "--minutes out of bounds": ["--minutes", "-1", "train"],
    "unknown command": ["grow"],
    "unknown option": ["stats", "--reasons"],
    "rebuild without a folder": ["rebuild"],
    "rebuild into a full folder": ["rebuild", "--to", "TMP"],
    "add of nothing": ["add"],
    "add of what is not there": ["add", "TMP/missing.txt"],
    "trace of a token without data": ["trace", "train.bin:5"],
    "trace of an unknown page": ["trace", "https://never.example/"],
    "report of an unknown run": ["report", "never"],
    "report without runs": ["report"],
    "sample without a model": ["sample"],
    "export without a folder": ["export", "hf"],
    "export without a model": ["export", "hf", "--to", "TMP/new"],
    "export gguf without a model": ["export", "gguf"],
    "export of an unknown format": ["export", "onnx"],
    "forget of nothing": ["forget"],
    "forget of two things": ["forget", "--url", "https://x.example/", "--seq", "3"],
    "forget of no address": ["forget", "--url", "x.example"],
    "forget of no domain": ["forget", "--domain", "not a domain"],
    "forget of an unknown document": ["forget", "--seq", "99"],
    "init over a file": ["init", "TMP/empty.toml"],
    "init of no profile": ["init", "TMP/profile.txt"],
    "train without tokens": ["train"],
    "data directory that is a file": ["--data-dir", "TMP/empty.toml", "stats"],
}


def _one_line(text: str, tmp: Path) -> str:
    """The line that says what is wrong; of argparse's not the list of choices, whose form changed with Python 3.12."""
    said = [line for line in text.splitlines() if "error: " in line] or text.splitlines()[:1] or [""]
    line = TIME.sub("TIME", said[0].replace(str(tmp), "TMP").replace(str(PROJECT), "PROJECT"))
    return line.partition(" (choose from")[0] if line.startswith("run.py") else line


def test_bad_profiles(tmp_path: Path) -> None:
    (tmp_path / "bad_list.txt").write_text("good.example\nhttp://\n")
    found = {}
    for name, text in BAD_PROFILES.items():
        path = tmp_path / "bad.toml"
        path.write_text(text)
        ran = run("--data-dir", tmp_path / "data", "--profile", path, "collect")
        found[name] = [ran.status, _one_line(ran.err, tmp_path)]
    check("bad_profiles", found)
    assert not (tmp_path / "data" / "raw" / "ledger.jsonl").exists()


def test_profile_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"name = '\xff'\n")
    ran = run("--profile", tmp_path / "bad.toml", "collect")
    check("profile_that_is_no_text", [ran.status, _one_line(ran.err, tmp_path)])


def test_wrong_uses(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    found = {}
    for name, words in WRONG_USES.items():
        own = [] if "--data-dir" in words else ["--data-dir", str(tmp_path / "data")]
        own += [] if "--profile" in words else ["--profile", str(tmp_path / "empty.toml")]
        ran = run(*own, *(word.replace("TMP", str(tmp_path)) for word in words))
        found[name] = [ran.status, _one_line(ran.err, tmp_path)]
    check("wrong_uses", found)


@pytest.mark.parametrize("damage", ["ledger", "state"])
def test_damaged_data(tmp_path: Path, damage: str) -> None:
    data = tmp_path / "data"
    damaged = data / ("raw/ledger.jsonl" if damage == "ledger" else "state/state.sqlite")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"this is neither a ledger nor a database\n" * 200)
    ran = run("--data-dir", data, "clean")
    check(f"damaged_{damage}", [ran.status, _one_line(ran.err, tmp_path)])


def _described(action: argparse.Action) -> Json:
    """What can be typed; not the sentence that explains it, nor where the program keeps it."""
    described = {
        "options": list(action.option_strings) or action.metavar or action.dest,
        "metavar": action.metavar,
        "choices": sorted(action.choices) if action.choices else None,
        "nargs": action.nargs,
        "required": action.required or None,
        "type": getattr(action.type, "__name__", None),
        "default": None if action.default == argparse.SUPPRESS else action.default,
        "repeatable": type(action).__name__ == "_AppendAction" or None,
    }
    return {name: value for name, value in described.items() if value is not None}


def test_options_of_each_command() -> None:
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    parsers: dict[str, argparse.ArgumentParser] = {"run.py": parser, **commands.choices}
    found: dict[str, list[Json]] = {
        name: [_described(action) for action in one._actions] for name, one in parsers.items()
    }
    check("options", found)
    for name, described in found.items():
        ran = run(*([] if name == "run.py" else [name]), "--help")
        options = [option for one in described if isinstance(one["options"], list) for option in one["options"]]
        assert ran.status == 0 and all(option in ran.out for option in options), ran.out
        assert max(map(len, ran.out.splitlines())) <= 100


def test_settings_with_defaults_and_bounds() -> None:
    check("settings", [[row[0], row[1], row[-1]] for row in table_rows("settings")])


def test_outcomes() -> None:
    check("outcomes", [[row[0], row[-1]] for row in table_rows("outcomes")])


# Loads each flow by the entry point that Prefect's server has, and prints what a caller may give it.
FLOWS = """
import json, yaml
from prefect.flows import load_flow_from_entrypoint
with open("prefect.yaml") as file:
    project = yaml.safe_load(file)
for one in project["deployments"]:
    flow = load_flow_from_entrypoint(one["entrypoint"])
    one["flow"], one["schema"] = flow.name, flow.parameters.model_dump()
print(json.dumps(project))
"""
MODULES = ("deployments.worker", "deployments.watch", "deployments.demo_site")


def _without_words(value: Any) -> Any:
    """A JSON schema without titles and descriptions."""
    if isinstance(value, dict):
        wordless = {name: one for name, one in value.items() if not (name in WORDS and isinstance(one, str))}
        return {name: _without_words(one) for name, one in wordless.items()}
    return value


WORDS = ("title", "description")


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What slow commands print, asked for side by side: they spend their time on importing Prefect."""
    commands = {module: ["-m", module, "--help"] for module in MODULES} | {"flows": ["-c", FLOWS]}
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}

    def output(words: list[str]) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(commands, pool.map(output, commands.values()), strict=True))


def test_flow_parameters_and_deployments(printed: dict[str, str]) -> None:
    project = json.loads(printed["flows"])
    for one in project["deployments"]:
        del one["description"]
        one["schema"] = _without_words(one["schema"])
    check("deployments", {name: project[name] for name in ("name", "prefect-version", "build", "pull", "deployments")})


def test_modules_that_users_start(printed: dict[str, str]) -> None:
    options = {module: sorted(set(re.findall(r"--[a-z-]+", printed[module]))) for module in MODULES}
    assert find_spec("deployments.serve")  # takes no options: it begins at once
    check("modules", options)


def test_what_installed_units_start() -> None:
    """systemd has copies of these files, and terminals have sourced `environment.sh`."""
    folder = PROJECT / "deployments" / "systemd"
    lines = {
        path.name: [
            line for line in path.read_text().splitlines() if line and not line.startswith(("#", "Description"))
        ]
        for path in sorted(folder.iterdir())
    }
    assert (PROJECT / "deployments" / "environment.sh").is_file()
    profiles = sorted(path.name for path in (PROJECT / "deployments").glob("*.toml"))
    check("systemd", {"units": lines, "profiles": profiles})
