"""A domain is forgotten after real nights: nothing of it is left here or in Prefect, and no later night asks for it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.storage.state_db import open_state
from tests.end_to_end.conftest import Household, profile_of
from tests.support.corpora import prose
from tests.support.growth import derived_bytes
from tests.support.loopback import Loopback
from tests.support.remains import places, sentences

SOURCES = """
[[search.sources]]
provider = "site"
url = "{url}/"

[[search.sources]]
provider = "feed"
url = "{url}/feed.xml"

[render]"""
TITLE = "The story of number {} of them all"


def article(number: int) -> bytes:
    title, paragraphs = TITLE.format(number), prose(number, 260).split("\n\n")
    text = "".join(f"<p>{one}</p>" for one in paragraphs)
    page = f"<head><title>{title}</title></head><body><article><h1>{title}</h1>{text}</article></body>"
    return f"<html>{page}</html>".encode()


def index(links: list[str]) -> bytes:
    items = "".join(f"<li><a href='{link}'>{link}</a></li>" for link in links)
    return f"<html><body><ul>{items}</ul></body></html>".encode()


@pytest.fixture
def sites(household: Household) -> Iterator[tuple[Loopback, Loopback]]:
    """One that will go and one that stays, which redirects to the first and has a copy of one of its pages."""
    with Loopback() as going, Loopback() as staying:
        pages = [f"/page-{number}.html" for number in range(12)]
        going.answers |= {page: article(number) for number, page in enumerate(pages)} | {"/": index(pages)}
        staying.answers |= {f"/page-{number}.html": article(100 + number) for number in range(30)}
        staying.answers |= {
            "/copy.html": article(3),
            "/moved.html": (302, {"Location": f"{going.url}/page-11.html"}, b""),
        }
        staying.answers["/"] = index([*staying.answers])
        both = f'["{host(going)}", "{host(staying)}"]'
        profile = profile_of(staying.url).replace(f'["{host(staying)}"]', both)
        profile = profile.replace("[render]", SOURCES.format(url=going.url))
        household.profile.write_text(profile)
        yield going, staying


def host(site: Loopback) -> str:
    return site.url.removeprefix("http://")


def raw_texts(household: Household, site: Loopback) -> list[str]:
    folder = household.data / "raw" / f"source_{host(site).replace(':', '_')}"
    return [path.read_text() for path in sorted(folder.glob("*.txt"))]


def secrets_of(household: Household, site: Loopback) -> set[str]:
    """Its addresses, each sentence of its texts, and the titles."""
    found = {sentence for text in raw_texts(household, site) for sentence in sentences(text)}
    assert len(found) > 100
    return found | {site.url, f"source_{host(site).replace(':', '_')}"} | {TITLE.format(n) for n in range(12)}


def fail_a_night_over(household: Household, site: Loopback) -> None:
    """So that Prefect has it in a state, in logs and in events."""
    folder = household.data / "raw" / f"source_{host(site).replace(':', '_')}"
    path = sorted(folder.glob("*.txt"))[0]
    aside = household.data.parent / "aside.txt"
    shutil.move(path, aside)
    with closing(open_state(household.data / "state" / "state.sqlite")) as db:
        db.execute("UPDATE positions SET value = 0 WHERE name = 'validated'")
    done = household.run(
        "--profile", str(household.profile), "--skip-cleaning", "--skip-preparation", "--skip-training"
    )
    assert done.returncode == 1 and path.name in done.stderr
    shutil.move(aside, path)


def forget(household: Household, *arguments: str) -> dict[str, object]:
    done = household.run("--profile", str(household.profile), "forget", "--json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def require_nowhere(household: Household, secrets: set[str]) -> None:
    assert places(household.data, secrets) == []
    assert places(Path(household.env["PREFECT_HOME"]), secrets) == []


def require_rebuilt(household: Household, target: Path) -> None:
    done = household.run("--profile", str(household.profile), "rebuild", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert derived_bytes(target) == derived_bytes(household.data)
    verified = household.run("verify")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("server", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_domain_is_nowhere_afterwards_and_stays_away(
    household: Household, sites: tuple[Loopback, Loopback], tmp_path: Path, server: bool
) -> None:
    going, staying = sites
    if not server:
        household.env |= {"PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "own prefect")}
    household.night()
    fail_a_night_over(household, going)
    secrets = secrets_of(household, going)
    prefect = Path(household.env["PREFECT_HOME"])
    found = places(prefect, secrets)
    assert any("prefect.db" in one for one in found) and any("storage" in one for one in found)

    looked = forget(household, "--domain", host(going), "--dry-run")
    assert places(prefect, secrets) and len(looked["documents"]) == 14  # type: ignore[arg-type]
    result = forget(household, "--domain", host(going))
    whys = [one["why"] for one in result["documents"]]  # type: ignore[attr-defined]
    assert whys.count("domain") == 13 and whys.count("copy") == 1
    require_nowhere(household, secrets)
    require_rebuilt(household, tmp_path / "rebuilt")
    stats = household.stats()
    assert stats["documents"]["dropped"]["forgotten"] == 14 and stats["model"]["forgotten"]["training"] > 2

    # Proposed by the profile and by a redirect: it is not asked, and what is known of it is a count.
    asked = len(going.requests)
    staying.answers["/again.html"] = (302, {"Location": f"{going.url}/page-1.html"}, b"")
    staying.answers["/"] = index([*staying.answers])
    record = household.night()
    assert len(going.requests) == asked
    assert record["stages"]["collect"]["counts"]["forgotten"] == 1  # the redirect
    assert any("source(s) of the profile were forgotten" in message for message in record["messages"])
    require_nowhere(household, secrets)
    time.sleep(7)  # the server writes its events late
    require_nowhere(household, secrets)


def test_killed_and_finished_by_the_next_night(
    household: Household, sites: tuple[Loopback, Loopback], tmp_path: Path
) -> None:
    going, _ = sites
    household.night()
    secrets = secrets_of(household, going)
    process = household.start("--profile", str(household.profile), "forget", "--domain", host(going))
    intent = household.data / "raw" / ".forget.json"
    household.kill_when(process, intent.exists)
    assert process.returncode == -signal.SIGKILL
    assert household.run("verify").returncode == 1
    record = household.night()
    assert any("a forgetting was cut" in message for message in record["messages"])
    assert not any(re.search(re.escape(host(going)), message) for message in record["messages"])
    require_nowhere(household, secrets)
    require_rebuilt(household, tmp_path / "rebuilt")


def test_what_cannot_be_reached_is_said_and_fails(household: Household, sites: tuple[Loopback, Loopback]) -> None:
    going, _ = sites
    household.night()
    household.env |= {
        "PREFECT_API_URL": "http://prefect.invalid:4200/api",
        "PREFECT_HOME": str(household.data.parent / "none"),
    }
    done = household.run("--profile", str(household.profile), "forget", "--url", f"{going.url}/page-1.html")
    assert (
        done.returncode == 1
        and "NOT CLEARED: no Prefect server answers at http://prefect.invalid:4200/api" in done.stdout
    )
    assert "Traceback" not in done.stderr
    again = household.run("--profile", str(household.profile), "forget", "--url", f"{going.url}/page-1.html")
    assert again.returncode == 1
    household.env["PREFECT_API_URL"] = ""
    again = household.run("--profile", str(household.profile), "forget", "--url", f"{going.url}/page-1.html")
    assert again.returncode == 0
    home = Path(household.env["PREFECT_HOME"])
    home.mkdir(exist_ok=True)
    (home / "prefect.db").write_bytes(b"no database at all" * 300)
    again = household.run("--profile", str(household.profile), "forget", "--url", f"{going.url}/page-1.html")
    assert again.returncode == 1 and "NOT CLEARED: Prefect's database" in again.stdout
    for arguments in (
        ["--url", "https://never.example/"],
        ["--seq", "9999"],
        ["--seq", "1", "--domain", "a.example"],
        [],
    ):
        done = household.run("--profile", str(household.profile), "forget", *arguments)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
