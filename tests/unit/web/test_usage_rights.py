import time
from pathlib import Path

import pytest

from tasks.contracts.outcomes import PageRejected
from tasks.web.robots_txt import RobotsTxt
from tasks.web.usage_rights import check_response, file_reservation, forbids_use, may_train, said_of_training
from tests.unit.web.test_politeness import PAGE, make


@pytest.mark.parametrize(
    ("lines", "forbidden"),
    [
        (["noindex"], True),
        (["index, NOAI"], True),
        (["none"], True),
        (["miniature-memory: noindex"], True),
        (["Miniature-Memory/1.0: noindex"], True),
        (["miniature-memory-images: noindex"], False),
        (["*: noai"], True),
        (["googlebot: noindex"], False),
        (["googlebot: noindex, nofollow"], False),
        (["googlebot: noindex, miniature-memory: noai"], True),
        (["googlebot: noindex", "noai"], True),
        (["googlebot: noindex", "otherbot: noai", "noarchive"], False),
        (["max-image-preview:none, index"], False),
        (["max-snippet: -1, noindex"], True),
        (["noimageindex, nosnippet, noimageai"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], False),
        (["unavailable_after: Saturday, 25-Jun-30 15:00:00 GMT, noindex"], True),
        ([""], False),
        ([], False),
    ],
)
def test_directives(lines: list[str], forbidden: bool) -> None:
    assert forbids_use(*lines) is forbidden


def said(headers: dict[str, str], body: bytes = b"", *lines: str) -> str:
    try:
        return check_response(headers, lines, body)
    except PageRejected as refused:
        return refused.reason


META = b'<html><head><meta name="tdm-reservation" content="%d"><META CONTENT="x" NAME="tdm-policy"></head>'


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b"<html>", "x-robots-tag: -; tdm: -"),
        ({"tdm-reservation": "1"}, b"", "reserved"),
        ({"tdm-reservation": "0"}, b"", "x-robots-tag: -; tdm: 0 (header)"),
        ({"tdm-reservation": "2"}, b"", "x-robots-tag: -; tdm: -"),
        ({}, META % 1, "reserved"),
        ({"tdm-reservation": "0"}, META % 1, "reserved"),
        ({"tdm-reservation": "1"}, META % 0, "x-robots-tag: -; tdm: 0 (meta)"),
        ({}, b"<meta content=1 name=tdm-reservation>", "reserved"),
        ({}, b"<meta name='tdm-policy' content='1'>", "x-robots-tag: -; tdm: -"),
        ({"tdm-policy": "https://a.example/policy"}, b"", "x-robots-tag: -; tdm: - policy https://a.example/policy"),
        ({"content-usage": "train-ai=n"}, b"", "reserved"),
        ({"content-signal": "search=yes, ai-train=no"}, b"", "reserved"),
        ({"content-signal": "search=no, ai-train=yes"}, b"", "x-robots-tag: -; tdm: -"),
        ({"content-signal": "ai-train=yes", "content-usage": "train-ai=n"}, b"", "reserved"),
        ({"content-signal": "search=yes, use=reference"}, b"", "reserved"),
        ({}, META % 0 + META % 1, "reserved"),
    ],
)
def test_an_answer_reserves_itself_by_header_or_tag_the_tag_over_the_header(
    headers: dict[str, str], body: bytes, expected: str
) -> None:
    assert said(headers, body) == expected


def test_the_tags_lines_are_evidence() -> None:
    assert said({}, b"", "otherbot: noindex", " noarchive ") == "x-robots-tag: otherbot: noindex | noarchive; tdm: -"
    assert said({}, b"", "noarchive", "noai") == "noindex"


def test_looking_for_tags_takes_linear_time() -> None:
    started = time.perf_counter()
    for piece in (b"<meta ", b"<meta name=tdm-reservation ", b"<", b"<meta name= "):
        said({}, piece * (2_000_000 // len(piece)))
    assert time.perf_counter() - started < 2.0


FILE = """[
  {"location": "/exactly$", "tdm-reservation": 1},
  {"location": "/open/", "tdm-reservation": 0},
  {"location": "/*/then*.html$", "tdm-reservation": 1},
  {"location": "/%7Euser/foo-%24", "tdm-reservation": "1"},
  {"location": "/query?a=", "tdm-reservation": 1},
  {"location": 7}, "nonsense", {"tdm-reservation": 1},
  {"location": "/odd", "tdm-reservation": 2},
  {"location": "/", "tdm-reservation": 0}
]"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("/exactly", 1), ("/exactly/not", 0), ("/open/x", 0), ("/this/then/that.html", 1), ("/this/then.htm", 0)),
        *(("/then.html", 0), ("/~user/foo-%24bar", 1), ("/~user/foo-$", 0), ("/query?a=1", 1), ("/odd", None), ("", 0)),
    ],
)
def test_the_first_rule_of_the_file_that_matches_counts(path: str, expected: int | None) -> None:
    assert file_reservation(FILE, f"https://a.example{path}") == expected


@pytest.mark.parametrize("text", ["", "no JSON", "{}", "[", "null", "[" * 100_000, '[{"location": "/other"}]'])
def test_a_file_that_is_none_reserves_nothing(text: str) -> None:
    assert file_reservation(text, PAGE) is None


@pytest.mark.parametrize(
    ("robots", "line"),
    [
        (
            "User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /",
            "2: Content-Signal: search=yes, ai-train=no",
        ),
        ("user-agent: *\nallow: /\ncontent-signal: search=yes # no word of training", None),
        ("Content-Signal: ai-train=no # none of it", "1: Content-Signal: ai-train=no # none of it"),
        (
            "Content-Signal: ai-train=no\nUser-agent: miniature-memory\nContent-Signal: ai-train=yes\nAllow: /",
            "1: Content-Signal: ai-train=no",
        ),
        ("User-agent: otherbot\nContent-Signal: ai-train=no\nDisallow:\n\nUser-agent: *\nAllow: /", None),
        ("User-agent: *\nContent-Signal: ai-train=no\nDisallow:\nUser-agent: miniature-memory\nAllow: /", None),
        # Content-Signal is no rule, so it ends no group: this one is for both.
        (
            "User-agent: *\nContent-Signal: ai-train=no\nUser-agent: miniature-memory\nAllow: /",
            "2: Content-Signal: ai-train=no",
        ),
        (
            "User-agent: *\nAllow: /\nUser-agent: x\nUser-agent: Miniature-Memory/1\nContent-Usage: train-ai=n",
            "5: Content-Usage: train-ai=n",
        ),
        ("User-agent: *\nContent-Usage: / train-ai=n", "2: Content-Usage: / train-ai=n"),
        ("User-agent: *\nContent-Usage: /other train-ai=n", None),
        (
            "User-agent: *\nContent-Usage: / train-ai=n\nContent-Usage: /pa train-ai=y",
            "3: Content-Usage: /pa train-ai=y",
        ),
        (
            "User-agent: *\nContent-Usage: /*ge$ train-ai=n\nContent-Usage: / train-ai=y",
            "2: Content-Usage: /*ge$ train-ai=n",
        ),
        ("User-agent: *\nContent-Usage:\t/p%61ge\ttrain-ai=n", "2: Content-Usage:\t/p%61ge\ttrain-ai=n"),
        # The longest path that speaks of training counts, not one that is silent.
        ("User-agent: *\nContent-Usage: / train-ai=n\nContent-Usage: /page search=y", "2: Content-Usage: / train-ai=n"),
        # Two things are said: the stricter one.
        ("User-agent: *\nContent-Usage: / train-ai=y\nContent-Usage: / train-ai=n", "3: Content-Usage: / train-ai=n"),
        ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: / train-ai=y", "2: Content-Usage: train-ai=n"),
        ("User-agent: *\nContent-Usage: / train-ai=y\nContent-Signal: ai-train=no", "3: Content-Signal: ai-train=no"),
        ("", None),
    ],
)
def test_robots_txt_may_speak_of_training(robots: str, line: str | None) -> None:
    found = said_of_training(RobotsTxt(robots).group, PAGE)
    assert (str(found) if found else None) == (f"robots.txt line {line}" if line else None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("ai-train=no", False), ("train-ai=y", True), ("search=yes", None), ("ai-train=yes, train-ai=n", False)),
        *(("search=yes,ai-train=no,use=reference", False), ("use=immediate", False), ("ai-train=yes, use=full", True)),
        ("ai-train=yes, use=reference", False),  # an excerpt and a link is less than training takes
        *(("train-genai=n;exceptions=cc-cr", False), ("bots=n", False), ("search=n, ai-use=n, ai-input=no", None)),
        *(("no-train-ai=n", None), ("train-ai=never", None), ("train-ai;allow=n", None), ("reuse=immediate", None)),
    ],
)
def test_what_is_said_of_training(text: str, said: bool | None) -> None:
    assert may_train(text) is said


def test_a_site_that_reserves_itself_is_asked_for_no_page(tmp_path: Path) -> None:
    hosts = make(tmp_path, b"User-agent: *\nAllow: /", b'[{"location": "/page", "tdm-reservation": 1}]')
    assert hosts.permit(PAGE) == "allowed"
    with pytest.raises(PageRejected, match="reserved"):
        hosts.reservation(PAGE)
    assert hosts.reservation("https://a.example/other") == "tdmrep.json: -"
    assert hosts.client.asked == ["https://a.example/robots.txt", "https://a.example/.well-known/tdmrep.json"]  # type: ignore[attr-defined]


def test_a_site_that_forbids_training_is_asked_for_no_further_file(tmp_path: Path) -> None:
    hosts = make(tmp_path, b"User-agent: *\nContent-Signal: ai-train=no")
    with pytest.raises(PageRejected) as refused:
        hosts.reservation(PAGE)
    assert refused.value.dropped("render").detail == "robots.txt line 2: Content-Signal: ai-train=no"
    assert len(hosts.client.asked) == 1  # type: ignore[attr-defined]


def test_what_was_said_is_evidence_also_an_rsl_licence(tmp_path: Path) -> None:
    robots = b"License: https://a.example/rsl.xml\nUser-agent: *\nContent-Usage: /page train-ai=y\nDisallow: /x\n"
    hosts = make(tmp_path, robots, b"[]")
    assert hosts.reservation(PAGE) == (
        "robots.txt line 3: Content-Usage: /page train-ai=y; "
        "robots.txt line 1: License: https://a.example/rsl.xml; tdmrep.json: -"
    )


def test_robots_txt_may_forbid_the_file_itself(tmp_path: Path) -> None:
    hosts = make(tmp_path, b"User-agent: *\nDisallow: /.well-known/")
    assert hosts.reservation(PAGE) == "tdmrep.json: -" and len(hosts.client.asked) == 1  # type: ignore[attr-defined]
