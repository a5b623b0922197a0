"""48 hours of the frontier and the hosts' pace, on a clock that only waiting moves; every run opens the files anew."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import cast

from tasks.contracts.outcomes import PageRejected
from tasks.contracts.records import Hit
from tasks.contracts.settings import RenderSettings, SearchSettings
from tasks.search.frontier import HOUR, Frontier, VisitResult
from tasks.storage.state_db import open_state
from tasks.web.http_client import HttpClient
from tasks.web.politeness import PolitenessPolicy

BEGIN = 1_800_000_000.0
DELAY = 5.0
RETRY_AFTER = 3 * HOUR
PAGES = [f"https://{host}.example/{kind}/{n}" for host in "abc" for kind in ("fine", "flaky", "gone") for n in range(4)]
PAGES += [f"https://busy.example/fine/{n}" for n in range(6)]
LISTING = "https://a.example/listing"


class Crawl:
    """One process after the other over the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, BEGIN
        self.asked: list[tuple[float, str]] = []
        self.cooled = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self) -> None:
        db = open_state(self.folder / "state.sqlite")
        settings = SearchSettings(retry_hours=2.0, revisit_listing_hours=20.0, max_failures=4)
        frontier, night = Frontier(db, settings), self.now
        pace = RenderSettings(delay_seconds=DELAY)
        hosts = PolitenessPolicy(
            db, cast(HttpClient, None), pace, lambda: self.now, self.sleep
        )  # robots.txt is not asked here
        frontier.add([Hit(url, "feed", "q") for url in PAGES] + [Hit(LISTING, "site", "q")], self.now)
        while hits := frontier.due(5, self.now, night):
            frontier.record_visits([self.visit(hit, hosts) for hit in hits], self.now)
        db.close()

    def visit(self, hit: Hit, hosts: PolitenessPolicy) -> VisitResult:
        try:
            with hosts.turn(hit.url):
                self.asked.append((self.now, hit.url))
        except PageRejected as refused:
            return VisitResult(hit, refused.reason, "render", retry=True)
        if "busy" in hit.url and not self.cooled:
            self.cooled += 1
            hosts.cool(hit.url, RETRY_AFTER)
            return VisitResult(hit, "rate_limited", "render", retry=True)
        if "flaky" in hit.url:
            return VisitResult(hit, "timeout", "render", retry=True)
        return (
            VisitResult(hit, "not_found", "render")
            if "gone" in hit.url
            else VisitResult(hit, "stored", final_url=hit.url)
        )

    def times(self, url: str) -> list[float]:
        return [at for at, asked in self.asked if asked == url]


def test_48_hours_of_runs_every_half_hour(tmp_path: Path) -> None:
    crawl = Crawl(tmp_path)
    for half_hour in range(96):
        crawl.now = max(crawl.now, BEGIN + 1800 * half_hour)
        crawl.run()
    for host in ("a", "b", "c", "busy"):
        asked = [at for at, url in crawl.asked if url.startswith(f"https://{host}.")]
        assert all(later - earlier >= DELAY for earlier, later in pairwise(asked))
    assert all(len(crawl.times(url)) == 1 for url in PAGES if "/fine/" in url and "busy" not in url)
    assert all(len(crawl.times(url)) == 1 for url in PAGES if "/gone/" in url)
    for url in (url for url in PAGES if "/flaky/" in url):
        waits = [later - earlier for earlier, later in pairwise(crawl.times(url))]
        assert len(waits) == 3  # four failures, and then it is given up
        assert all(wait >= 2 * HOUR * 2**n for n, wait in enumerate(waits))
    listed = crawl.times(LISTING)
    assert len(listed) == 3 and all(later - earlier >= 20 * HOUR for earlier, later in pairwise(listed))
    busy = [at for at, url in crawl.asked if "busy" in url]
    assert crawl.cooled == 1 and busy[1] - busy[0] >= RETRY_AFTER
    assert {url for _, url in crawl.asked if "busy" in url} == {url for url in PAGES if "busy" in url}
