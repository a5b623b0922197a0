"""Control characters of strangers come out nowhere: not on a terminal, in a report, or in an artifact of Prefect.

A site, files and a model that write them wherever they can; then every command, and every file for people.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from flows.steps import run_steps
from model.data.tokenizer import train_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_export import publish
from tasks import stages
from tasks.contracts.errors import MiniatureMemoryError
from tasks.contracts.paths import PROJECT, Layout, find_data_directory
from tasks.contracts.printable import CONTROL, one_line, printable
from tasks.contracts.records import as_text
from tasks.contracts.run_record import RunRecord, Silent
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings, Source
from tasks.report.ending import as_text as ending
from tasks.report.report import write_report
from tests.support.loopback import Loopback, article

EVIL = "\x1b[31m\x1b]0;title\x07\x9b2J\u202ereversed\u2066\x7f\x85\u2028\ufeff"
PROFILE = """
[search]
allow_loopback = ["{address}"]
[[search.sources]]
provider = "urls"
urls = {urls}
file = {file}
[[search.sources]]
provider = "feed"
url = "{url}/feed"
[render]
delay_seconds = 0
browser = "never"
retries = 0
"""


@dataclass
class House:
    data: Path
    profile: Path
    urls: list[str]

    def run(self, *arguments: str | bytes) -> tuple[int, str]:
        """The exit status, and all that a terminal would get."""
        command = [
            sys.executable,
            str(PROJECT / "run.py"),
            "--data-dir",
            str(self.data),
            "--profile",
            str(self.profile),
        ]
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        done = subprocess.run(
            [*command, *arguments],
            env=env | {"HOME": str(self.data.parent), "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A night over a site whose every word is evil, and a model that writes any byte."""
    root = tmp_path_factory.mktemp("ways")
    data = root / "data"
    tokenizer = train_tokenizer(["the tide " * 20], 257)
    data.mkdir()
    tokenizer.save(str(root / "tokenizer.json"))
    config = GPTConfig(257, 64, 1, 2, 2, 32, 16, 32)
    torch.manual_seed(0)
    publish(data / "models", 1, config, dict(GPT(config).state_dict()), root / "tokenizer.json", {})
    c1 = "\x9b31m\x85"
    claims = f'<meta name="author" content="Ann {EVIL}"><meta name="description" content="{EVIL}">'
    answers = {
        "/title": (200, {}, article(f"Harbour {EVIL}", head=claims)),
        "/type": (200, {"Content-Type": f"text/{c1}"}, b"x" * 500),
        "/encoding": (200, {"Content-Encoding": f"br{c1}, gzip, gzip, gzip, gzip"}, b"\0" * 500),
        "/robots": (200, {"X-Robots-Tag": f"noindex, {c1}"}, article()),
        "/moved": (302, {"Location": f"http://{c1}/"}, b""),
        "/signal": (200, {"Content-Signal": f"ai-train=no {c1}"}, article()),
        "/feed": (200, {"Content-Type": f"application/{c1}"}, b"nothing"),
    }
    with Loopback(answers) as site:
        urls = [site.url + path for path in answers]
        listing, profile = root / "list", root / "profile.toml"
        listing.write_text(f"{EVIL}\n", encoding="utf-8")
        values = {"address": site.address, "url": site.url, "urls": json.dumps(urls), "file": json.dumps(str(listing))}
        profile.write_text(PROFILE.format(**values))
        yield House(data, profile, urls)


def require_clean(text: str) -> None:
    found = CONTROL.search(text)
    assert found is None, text[max(0, found.start() - 80) : found.end() + 20].encode("unicode_escape")


def test_every_command_and_every_file_for_people(house: House, tmp_path: Path) -> None:
    name = f"note \x1b[31m{EVIL[:4]}\u202e.md"
    (tmp_path / name).write_text(f"# {EVIL}\n\nA note of my own.\n", encoding="utf-8")
    (tmp_path / (name + ".pdf")).write_text("x")
    raw = house.data / "raw"
    raw.mkdir(exist_ok=True)
    (raw / f"{EVIL}\n.txt".replace("/", "")).write_bytes(b"\xff")
    (raw / os.fsdecode(b"\x1b[2J\xff.txt")).write_text("x")
    broken = tmp_path / f"{EVIL}.toml"
    broken.write_text(f"[search]\ntopics = [{json.dumps(EVIL)}, 3]\n")
    spoken = ""
    for arguments in (
        *(("collect",), ("--json", "collect"), ("add", str(tmp_path / name), str(tmp_path / (name + ".pdf")))),
        *(("validate", "--scan"), ("clean",), ("prepare",), ("verify",), ("stats",), ("--json", "stats")),
        *(("stats", "--reason", "too_short"), ("--json", "stats", "--reason", "too_short"), ("report",)),
        *(("--json", "report"), ("report", EVIL), ("trace", EVIL), ("forget", "--url", house.urls[0], "--dry-run")),
        *((("trace", url)) for url in house.urls[:2]),
        ("--json", "trace", house.urls[0]),
        *(("sample", "--tokens", "400", "--ignore-end"), ("--profile", str(broken), "collect")),
    ):
        _, text = house.run(*arguments)
        require_clean(text)
        assert "Traceback" not in text, text
        spoken += text
    for what in ("text/\\u009b", "application/\\u009b", "\\u202ereversed", "\\udcff.txt"):
        assert what in spoken, f"{what} came not so far"
    assert re.search(r"Harbour .*\\u202ereversed", spoken), "no title came so far"
    reports = [path for path in (house.data / "reports").rglob("*") if path.suffix in (".md", ".json", ".txt")]
    assert len(reports) > 4
    for path in reports:
        require_clean(path.read_text(encoding="utf-8"))


def test_the_record_that_reports_artifacts_and_states_are_made_of(tmp_path: Path) -> None:
    told: list[str] = []

    class Listener(Silent):
        def message(self, text: str) -> None:
            told.append(text)

        def progress(self, what: str, done: int, of: int, detail: str) -> None:
            told.append(detail)

    record, layout = RunRecord("nightly", Listener()), find_data_directory(tmp_path)
    record.say(EVIL)
    record.progress("collect", 1, 2, EVIL)
    record.training = {
        "steps_done": 1,
        "step": 1,
        "tokens_per_second": 1,
        "bits_per_byte": None,
        "bits_per_byte_before": None,
        "published": True,
        "published_path": EVIL,
        "samples": [{"prompt": EVIL, "text": f"{EVIL}\nnext"}],
    }
    with pytest.raises(MiniatureMemoryError), write_report(record, layout, dict, told.append, picture=False):
        raise MiniatureMemoryError(EVIL)
    values = record.as_dict()
    told += [json.dumps(values, ensure_ascii=False), ending(values, tmp_path), record.summary, values["outcome"]]
    for text in [*told, *(path.read_text(encoding="utf-8") for path in layout.reports.glob("*/*"))]:
        require_clean(text)
    assert "reversed" in told[0] and "\nnext" in values["training"]["samples"][0]["text"]


def test_a_whole_night_as_prefect_gets_it(tmp_path: Path) -> None:
    published: list[str] = []
    with Loopback({"/": (200, {"Content-Type": "text/\x9b31m"}, b"x")}) as site:
        search = SearchSettings(sources=(Source("feed", url=f"{site.url}/"),), allow_loopback=(site.address,))
        settings = Settings("evil", search, RenderSettings(delay_seconds=0, browser="never"))
        record = run_steps(settings, Layout(tmp_path), ["collection"], stages, Silent(), published.append)
    require_clean("".join([*published, json.dumps(record.as_dict(), ensure_ascii=False), record.summary]))
    assert "\\u009b31m" in published[0]


@pytest.mark.parametrize("text", ["", "plain \u00fc \u4e2d \U0001f469\u200d\U0001f469", "a\tb\nc"])
def test_what_is_harmless_stays(text: str) -> None:
    assert printable(text) == text


def test_json_keeps_its_values() -> None:
    values = {"text": EVIL + "\U000e0041\ud800", "more": ["\n"]}
    assert json.loads(printable(json.dumps(values, ensure_ascii=False))) == values


def test_a_name_cannot_begin_another_line() -> None:
    assert one_line("a\nerror: b\t\r") == "a\\u000aerror: b\\u0009\\u000d"
    assert as_text("x") == "x"
