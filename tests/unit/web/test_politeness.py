from pathlib import Path

import httpx
import pytest

from tasks.contracts.outcomes import OUTCOMES, PageRejected
from tasks.contracts.settings import RenderSettings
from tasks.storage.state_db import open_state
from tasks.web.http_client import Deadline, Response
from tasks.web.politeness import PolitenessPolicy

PAGE = "https://a.example/page"


class FakeClient:
    """Answers robots.txt with what it was given; a refusal is raised."""

    def __init__(self, *answers: bytes | PageRejected | str) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def get(self, url: str, *, deadline: Deadline, max_bytes: int, truncate: bool) -> Response:
        self.asked.append(url)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, PageRejected):
            raise answer
        if isinstance(answer, str):
            return Response(url, 301, httpx.Headers({"location": answer}), b"")
        return Response(url, 200, httpx.Headers(), answer[:max_bytes])


class FakeTime:
    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []  # type: ignore[var-annotated]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def make(
    tmp_path: Path, *answers: bytes | PageRejected | str, time: FakeTime | None = None, **settings: float
) -> PolitenessPolicy:
    time = time or FakeTime()
    db = open_state(tmp_path / "state.sqlite")
    rendering = RenderSettings(**{"delay_seconds": 0.0, **settings})  # type: ignore[arg-type]
    return PolitenessPolicy(db, FakeClient(*answers), rendering, lambda: time.now, time.sleep)  # type: ignore[arg-type]


def reason(hosts: PolitenessPolicy, url: str = PAGE) -> str:
    try:
        return hosts.permit(url)
    except PageRejected as refused:
        return refused.reason


def test_rules_are_obeyed_behind_a_byte_order_mark(tmp_path: Path) -> None:
    hosts = make(tmp_path, b"\xef\xbb\xbfUser-agent: *\nDisallow: /private\nAllow: /private/open\n")
    assert reason(hosts) == "allowed"
    assert reason(hosts, "https://a.example/private/x") == "robots_forbidden"
    assert reason(hosts, "https://a.example/private/open/x") == "allowed"


def test_rules_for_our_own_name_win(tmp_path: Path) -> None:
    hosts = make(tmp_path, b"User-agent: *\nAllow: /\n\nUser-agent: miniature-memory\nDisallow: /\n")
    assert reason(hosts) == "robots_forbidden"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (PageRejected("not_found"), "absent"),
        (PageRejected("forbidden"), "absent"),
        (PageRejected("server_error"), "robots_unreachable"),
        (PageRejected("too_many_requests"), "robots_unreachable"),
        (PageRejected("timeout"), "robots_unreachable"),
        (PageRejected("dead_host"), "dead_host"),
        (PageRejected("forbidden_address"), "forbidden_address"),
        ("https://a.example/robots.txt", "absent"),
    ],
)
def test_what_a_failure_means(tmp_path: Path, answer: PageRejected | str, expected: str) -> None:
    assert reason(make(tmp_path, answer)) == expected


def test_a_single_failure_is_tried_again(tmp_path: Path) -> None:
    assert reason(make(tmp_path, PageRejected("server_error"), b"")) == "allowed"


def test_redirects_are_followed_to_another_host(tmp_path: Path) -> None:
    hosts = make(tmp_path, "https://www.a.example/robots.txt", b"User-agent: *\nDisallow: /page")
    assert reason(hosts) == "robots_forbidden"


def test_robots_is_read_once_a_day_across_runs(tmp_path: Path) -> None:
    time = FakeTime()
    assert reason(make(tmp_path, b"User-agent: *\nDisallow: /page", time=time)) == "robots_forbidden"
    later = make(tmp_path, b"", time=time)
    assert reason(later) == "robots_forbidden" and later.client.asked == []  # type: ignore[attr-defined]
    time.now += 86_401
    assert reason(later) == "allowed"


def test_a_dead_host_is_not_asked_for_each_page(tmp_path: Path) -> None:
    hosts = make(tmp_path, PageRejected("dead_host"))
    assert {reason(hosts, f"{PAGE}/{n}") for n in range(5)} == {"dead_host"}
    assert len(hosts.client.asked) == 1  # type: ignore[attr-defined]


def test_a_large_file_counts_as_far_as_it_was_read(tmp_path: Path) -> None:
    rules = b"User-agent: *\nDisallow: /page\n" + b"# filler\n" * 100_000
    assert reason(make(tmp_path, rules)) == "robots_forbidden"


def wait(hosts: PolitenessPolicy, url: str) -> None:
    with hosts.turn(url):
        pass


def test_the_pause_between_requests_holds_across_runs(tmp_path: Path) -> None:
    time = FakeTime()
    wait(make(tmp_path, b"", time=time, delay_seconds=2.0), PAGE)
    time.now += 0.5
    wait(make(tmp_path, b"", time=time, delay_seconds=2.0), "https://a.example/other")
    wait(make(tmp_path, b"", time=time, delay_seconds=2.0), "https://b.example/")
    assert time.slept == [1.5]


@pytest.mark.parametrize(("asked", "kept"), [("7", 7.0), ("0.5", 2.0), ("3600", 60.0)])
def test_a_crawl_delay_that_is_larger_counts_up_to_a_minute(tmp_path: Path, asked: str, kept: float) -> None:
    time = FakeTime()
    hosts = make(tmp_path, f"User-agent: *\nCrawl-delay: {asked}".encode(), time=time, delay_seconds=2.0)
    hosts.permit(PAGE)
    time.slept.clear()
    time.now += 100
    wait(hosts, PAGE)
    wait(hosts, PAGE)
    assert time.slept == [kept]


def test_a_long_pause_that_was_asked_for_is_not_sat_out(tmp_path: Path) -> None:
    time = FakeTime()
    hosts = make(tmp_path, b"", time=time)
    hosts.cool(PAGE, 3600)
    with pytest.raises(PageRejected, match="host_cooling"):
        wait(hosts, PAGE)
    time.now += 3601
    wait(hosts, PAGE)
    assert time.slept == []


def test_a_clock_that_was_turned_back_blocks_nothing(tmp_path: Path) -> None:
    time = FakeTime()
    hosts = make(tmp_path, b"", time=time)
    time.now = 1e9
    hosts.cool(PAGE, 100)
    time.now = 1000.0
    wait(hosts, PAGE)
    assert time.slept == []


def test_every_outcome_says_what_it_means() -> None:
    assert all(outcome.meaning and name == name.lower() for name, outcome in OUTCOMES.items())
    with pytest.raises(AssertionError):
        PageRejected("no_such_outcome")
