"""A clock that was years ahead for one night: it is said, and the nights after it go on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts.paths import PROJECT
from tests.support.loopback import Loopback, article

YEARS = 10 * 365 * 86_400
CLOCK = "import os, time\nreal = time.time\ntime.time = lambda: real() + float(os.environ.get('AHEAD', 0))\n"
PROFILE = """
[search]
allow_loopback = ["{address}"]
[[search.sources]]
provider = "site"
url = "{url}/"
[[search.sources]]
provider = "feed"
url = "{url}/feed"
[render]
delay_seconds = 0
browser = "never"
"""


@dataclass
class House:
    root: Path
    site: Loopback

    def publish(self, *names: str) -> None:
        links = "".join(f'<a href="/{name}">{name}</a>' for name in names)
        self.site.answers |= {f"/{name}": article(f"The harbour of {name}") for name in names}
        self.site.answers["/"] = article("All harbours", extra=links)
        items = "".join(f"<item><link>{self.site.url}/feed/{name}</link></item>" for name in names)
        self.site.answers["/feed"] = f"<rss><channel>{items}</channel></rss>".encode()

    def night(self, ahead: float = 0.0) -> dict[str, Any]:
        command = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(self.root / "data"), "--json", "collect"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        env |= {"HOME": str(self.root), "PYTHONPATH": str(self.root / "clock"), "AHEAD": str(ahead)}
        command += ["--profile", str(self.root / "profile.toml")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def asked(self) -> list[str]:
        paths, self.site.requests = self.site.paths, []
        return [path for path in paths if path not in ("/robots.txt", "/.well-known/tdmrep.json")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with Loopback() as site:
        (tmp_path / "clock").mkdir()
        (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK)
        (tmp_path / "profile.toml").write_text(PROFILE.format(address=site.address, url=site.url))
        yield House(tmp_path, site)


def said(record: dict[str, Any]) -> list[str]:
    return [message for message in record["messages"] if "clock" in message]


def test_after_a_night_years_ahead_the_next_ones_go_on(house: House) -> None:
    house.publish("Aa", "Bb")
    assert not said(house.night())
    house.publish("Aa", "Bb", "Cc")
    house.night(ahead=YEARS)
    house.asked()
    house.publish("Aa", "Bb", "Cc", "Dd")
    record = house.night()
    (message,) = said(record)
    assert "ahead" in message
    asked = house.asked()
    assert {"/", "/feed", "/Dd", "/feed/Dd"} <= set(asked), asked
    assert not {"/Aa", "/Bb", "/Cc"} & set(asked), "articles keep their pause"
    with sqlite3.connect(house.root / "data" / "state" / "state.sqlite") as db:
        newest = db.execute("SELECT max(due_at) FROM frontier").fetchone()[0]
        now = db.execute("SELECT unixepoch()").fetchone()[0]
    assert newest < now + 31 * 86_400
    assert not said(house.night())
    assert house.asked() == []
