"""Pauses between requests as the server sees them, under a clock that only sleeping moves."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.contracts.paths import Layout
from tasks.contracts.records import Hit, Page
from tasks.contracts.settings import RenderSettings, SearchSettings, Settings
from tasks.render.stage import Renderer, render
from tasks.storage.state_db import open_state
from tests.support.loopback import Handler, Loopback, article


class FakeTime:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 100
        self.now += seconds


def make(folder: Path, clock: FakeTime | None, *sites: Loopback) -> Renderer:
    opened = tuple(site.address for site in sites)
    delay = 3.0 if clock else 0.3
    settings = Settings(
        search=SearchSettings(allow_loopback=opened), render=RenderSettings(delay_seconds=delay, browser="never")
    )
    layout = Layout(folder)
    db = open_state(layout.database)
    return (
        Renderer(settings, layout, db, clock=lambda: clock.now, sleep=clock.sleep)
        if clock
        else Renderer(settings, layout, db)
    )


def stamped(now: Callable[[], float], seen: list[float], body: bytes) -> Any:
    def answer(_: object) -> bytes:
        seen.append(now())
        return body

    return answer


def gaps(seen: list[float]) -> set[float]:
    return {round(later - earlier, 3) for earlier, later in pairwise(seen)}


def test_each_host_is_asked_at_its_own_pace_across_runs(tmp_path: Path) -> None:
    """By the real clock: under a made one, a lane that sleeps would move the time of the others."""
    quick: list[float] = []
    slow: list[float] = []
    with Loopback() as first, Loopback() as second:
        for site, seen, robots in ((first, quick, b""), (second, slow, b"User-agent: *\nCrawl-delay: 0.6")):
            site.answers = {f"/{n}": stamped(time.monotonic, seen, article(str(n))) for n in range(6)}
            site.answers["/robots.txt"] = robots
        for batch in (range(3), range(3, 6)):
            hits = [Hit(f"{site.url}/{n}", "urls", "q") for n in batch for site in (first, second)]
            with make(tmp_path, None, first, second) as renderer:
                assert all(isinstance(page, Page) for page in render(hits, renderer))
    assert len(quick) == len(slow) == 6
    assert min(gaps(quick)) > 0.2 and min(gaps(slow)) > 0.5  # a request may take longer to arrive than the next one
    assert quick[2] < slow[2], "the slow host's pauses hold nobody else up"


def test_hosts_are_asked_at_once_and_each_for_one_page_at_a_time(tmp_path: Path) -> None:
    """Redirects from one host to another included: whoever asks a host waits for its turn."""
    asked: dict[str, int] = {}
    most: dict[str, int] = {}
    everywhere, lock = [0], threading.Lock()

    def slow(handler: Handler) -> bytes:
        host = handler.headers["Host"]
        with lock:
            asked[host] = asked.get(host, 0) + 1
            most[host] = max(most.get(host, 0), asked[host])
            everywhere.append(sum(asked.values()))
        time.sleep(0.1)
        with lock:
            asked[host] -= 1
        return article(handler.path)

    with Loopback() as first, Loopback() as second, Loopback() as third:
        sites = (first, second, third)
        for site, other in zip(sites, (second, third, first), strict=True):
            site.answers = {f"/{n}": slow for n in range(3)}
            site.answers["/away"] = (302, {"Location": other.url + "/0"}, b"")
        hits = [Hit(site.url + path, "urls", "q") for path in ("/away", "/0", "/1", "/2") for site in sites]
        opened = Settings(
            search=SearchSettings(allow_loopback=tuple(site.address for site in sites)),
            render=RenderSettings(delay_seconds=0.0, browser="never"),
        )
        layout = Layout(tmp_path)
        with Renderer(opened, layout, open_state(layout.database)) as renderer:
            pages = render(hits, renderer)
    assert [page.hit for page in pages if isinstance(page, Page)] == hits, "in the order that was given"
    assert set(most.values()) == {1} and max(everywhere) == 3


def test_many_hosts_are_asked_at_once(tmp_path: Path) -> None:
    """Incident: the pool of connections had room for ten, and the other hosts waited for them."""
    together = threading.Barrier(12)

    def all_here(_: Handler) -> bytes:
        together.wait(10)
        return article()

    with ExitStack() as stack:
        sites = [stack.enter_context(Loopback({"/": all_here})) for _ in range(12)]
        opened = Settings(
            search=SearchSettings(allow_loopback=tuple(site.address for site in sites)),
            render=RenderSettings(delay_seconds=0.0, browser="never", hosts_at_once=12),
        )
        layout = Layout(tmp_path)
        with Renderer(opened, layout, open_state(layout.database)) as renderer:
            pages = render([Hit(f"{site.url}/", "urls", "q") for site in sites], renderer)
    assert all(isinstance(page, Page) for page in pages) and not together.broken


def test_retries_keep_the_pace(tmp_path: Path) -> None:
    clock = FakeTime()
    seen: list[float] = []

    def failing(_: object) -> Any:
        seen.append(clock.now)
        return 503, {}, b""

    with Loopback({"/": failing}) as site, make(tmp_path, clock, site) as renderer:
        render([Hit(site.url + "/", "urls", "q")], renderer)
    assert len(seen) == 3 and min(gaps(seen)) >= 3.0
