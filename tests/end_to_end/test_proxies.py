"""Nights of a user whose environment names a proxy: what is on this machine is never asked through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Household, free_port, profile_of
from tests.end_to_end.test_bad_input import one_line
from tests.support.http_proxy import HttpProxy
from tests.support.loopback import Loopback, article

PAGES = 30


@pytest.fixture
def harbour() -> Iterator[Loopback]:
    """A site of articles that link to each other."""
    links = "".join(f'<a href="/{number}">{number}</a>' for number in range(PAGES))
    with Loopback({f"/{number}": article(f"Harbour number {number}") for number in range(PAGES)}) as site:
        site.answers["/"] = article(extra=links)
        yield site


def test_a_site_that_only_the_proxy_can_reach_is_collected(household: Household, harbour: Loopback) -> None:
    household.profile.write_text(profile_of("http://harbour.example").replace('harbour.example"]', '127.0.0.1:1"]'))
    with HttpProxy({"harbour.example:80": harbour.address}) as proxy:
        record = household.night(http_proxy=proxy.url, https_proxy=proxy.url)
    assert record["stages"]["collect"]["counts"]["stored"] == PAGES + 1
    assert any("through the proxy of http_proxy" in said for said in record["messages"])
    assert household.stats()["model"]["step"] == 20
    # Prefect's server is on this machine, and was asked directly.
    assert proxy.asked and all("harbour.example" in one for one in proxy.asked)


def test_a_dead_proxy_costs_the_pages_of_the_web_alone(household: Household, harbour: Loopback, tmp_path: Path) -> None:
    """With a Prefect server of the night's own, a site on loopback and files of the user's."""
    profile = profile_of(harbour.url) + '[[search.sources]]\nprovider = "urls"\nurls = ["http://harbour.example/"]\n'
    household.profile.write_text(profile)
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "one.html").write_bytes(article("A diary"))
    dead = f"http://127.0.0.1:{free_port()}"
    proxies = {"http_proxy": dead, "HTTPS_PROXY": dead, "all_proxy": "socks5://127.0.0.1:9"}
    del household.env["PREFECT_API_URL"]
    alone = {"PREFECT_HOME": str(tmp_path / "own"), **proxies}
    assert household.run("add", str(tmp_path / "diary"), **alone).returncode == 0
    record = household.night(**alone)
    assert record["stages"]["collect"]["counts"] == {"stored": PAGES + 1, "proxy_failed": 1}
    assert household.stats()["model"]["step"] == 20


def test_a_socks_proxy_is_one_line(household: Household, harbour: Loopback) -> None:
    household.profile.write_text(profile_of(harbour.url))
    done = household.run("--profile", str(household.profile), ALL_PROXY="socks5://127.0.0.1:1080")
    assert done.returncode == 2 and "ALL_PROXY: SOCKS5 proxies are not supported" in one_line(done.stderr)
    assert not (household.data / "raw" / "ledger.jsonl").exists()
