"""Pauses between requests as the server sees them, under a clock that only sleeping moves."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.layout import Layout
from tasks.records import Hit, Page
from tasks.render import Renderer, render
from tasks.settings import RenderSettings, SearchSettings, Settings
from tasks.state import open_state
from tests.loopback import Loopback, article


class FakeTime:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 100
        self.now += seconds


def make(folder: Path, time: FakeTime, *sites: Loopback) -> Renderer:
    opened = tuple(site.address for site in sites)
    settings = Settings(
        search=SearchSettings(allow_loopback=opened), render=RenderSettings(delay_seconds=3.0, browser="never")
    )
    layout = Layout(folder)
    return Renderer(settings, layout, open_state(layout.database), clock=lambda: time.now, sleep=time.sleep)


def stamped(time: FakeTime, seen: list[float], body: bytes) -> Any:
    def answer(_: object) -> bytes:
        seen.append(time.now)
        return body

    return answer


def gaps(seen: list[float]) -> set[float]:
    return {round(later - earlier, 3) for earlier, later in pairwise(seen)}


def test_each_host_is_asked_at_its_own_pace_across_runs(tmp_path: Path) -> None:
    time, quick, slow = FakeTime(), [], []  # type: ignore[var-annotated]
    with Loopback() as first, Loopback() as second:
        for site, seen, robots in ((first, quick, b""), (second, slow, b"User-agent: *\nCrawl-delay: 10")):
            site.answers = {f"/{n}": stamped(time, seen, article(str(n))) for n in range(6)}
            site.answers["/robots.txt"] = robots
        for batch in (range(3), range(3, 6)):
            hits = [Hit(f"{site.url}/{n}", "urls", "q") for n in batch for site in (first, second)]
            with make(tmp_path, time, first, second) as renderer:
                assert all(isinstance(page, Page) for page in render(hits, renderer))
    assert len(quick) == len(slow) == 6
    assert min(gaps(quick)) >= 3.0
    assert gaps(slow) == {10.0}
    # Taking turns, the slow host's pauses pay for the quick one's.
    assert time.now - 1_000_000 < 75


def test_retries_keep_the_pace(tmp_path: Path) -> None:
    time = FakeTime()
    seen: list[float] = []

    def failing(_: object) -> Any:
        seen.append(time.now)
        return 503, {}, b""

    with Loopback({"/": failing}) as site, make(tmp_path, time, site) as renderer:
        render([Hit(site.url + "/", "urls", "q")], renderer)
    assert len(seen) == 3 and min(gaps(seen)) >= 3.0
