"""How the cases of peers' tests are read, from files of our own that look like theirs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmarks.peer_reasons import reason_of
from benchmarks.peer_tables import (
    PEERS,
    feedparser_cases,
    ftfy_cases,
    google_cases,
    html5lib_cases,
    measure,
    protego_cases,
    w3lib_cases,
)

GOOGLE = r"""
TEST(Suite, Groups) {
  const absl::string_view robots =
      "user-agent: OurBot\n"  // a comment
      "disallow: /x\n";
  EXPECT_FALSE(IsUserAgentAllowed(robots, "OurBot", "http://a.example/x"));
  EXPECT_TRUE(IsUserAgentAllowed(robots,
                                 "OurBot", "http://a.example/y"));
  EXPECT_TRUE(IsUserAgentAllowed(robots, "OurBot", "http://a.example/x"));
  // EXPECT_TRUE(IsUserAgentAllowed(robots, "OurBot", "http://a.example/x"));
  const std::string made = absl::StrCat(robots, "x");
  EXPECT_TRUE(IsUserAgentAllowed(made, "OurBot", "http://a.example/x"));
  EXPECT_EQ(1, 2);
}
"""
PROTEGO = """
import pytest
from protego import Protego

class TestAll:
    def test_some(self):
        rp = Protego.parse("User-agent: *\\nDisallow: /x\\nCrawl-delay: 2")
        assert rp.can_fetch("http://a.example/y", "*")
        for path in ("/x", "/xy"):
            assert not rp.can_fetch(path, "*")
        assert rp.can_fetch("http://a.example/x", "*")
        assert rp.crawl_delay("*") == 2.0
        assert rp.request_rate("*") is None
        value = unknown(rp)
        assert value

@pytest.mark.parametrize(("path", "allowed"), [("/x", False), ("/y", True), ("/y", False)])
def test_rows(path, allowed):
    rp = Protego.parse("User-agent: *\\nDisallow: /x")
    for one in (1, 2):
        if one:
            path = "/z"
    assert rp.can_fetch(path, "*") == allowed

@pytest.mark.parametrize("path", made_somewhere_else())
def test_computed(path):
    assert False
"""
W3LIB = """
class TestUrl:
    def test_keys(self):
        assert canonicalize_url("http://a.example/?b=1&a=2") == "http://a.example/?a=2&b=1"
        assert canonicalize_url("http://a.example/", encoding="latin1") == "http://a.example/"
        assert url_query_parameter("http://a.example/?a=1", "a") == "1"
        body = '<meta http-equiv="refresh" content="5; url=/new">'
        assert get_meta_refresh(body, "http://a.example/") == (5, "http://a.example/new")
        self._assert_encoding("utf-8", b"\\xc2\\xa3", "utf-8", "\\xa3")
"""
FEED = """<?xml version="1.0" encoding="{label}"?>
<!--
Header: Content-type: application/xml
Description: a link
Expect: not bozo and {expected}
-->
<rss><channel><item><link>{link}</link></item></channel></rss>"""


def verdicts(cases: object) -> list[bool | None]:
    return [agrees for _, agrees, _ in cases]  # type: ignore[attr-defined]


def test_cases_in_cpp(tmp_path: Path) -> None:
    (tmp_path / "robots_test.cc").write_text(GOOGLE)
    assert verdicts(google_cases(tmp_path)) == [True, True, False, None, None]


def test_cases_in_python(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_protego.py").write_text(PROTEGO)
    (tmp_path / "tests" / "test_on_google_spec.py").write_text("")
    # Functions come before methods. The rows whose path is changed under an `if` are not ours to answer.
    assert verdicts(protego_cases(tmp_path)) == [None, None, None, True, True, True, False, True, None, None]
    for name in ("test_url.py", "test_html.py", "test_encoding.py"):
        (tmp_path / "tests" / name).write_text(W3LIB if name == "test_url.py" else "")
    assert verdicts(w3lib_cases(tmp_path)) == [True, None, None, True, True]


def test_cases_in_files(tmp_path: Path) -> None:
    (tmp_path / "encoding").mkdir()
    data = b"#data\n<meta charset=latin2>\n#encoding\niso-8859-2\n\n#data\n<p>\n#encoding\nutf-8\n"
    (tmp_path / "encoding" / "some.dat").write_bytes(data)
    assert verdicts(html5lib_cases(tmp_path)) == [True, False]

    (tmp_path / "tests" / "test-cases").mkdir(parents=True)
    mojibake = [{"original": "crÃ¨me", "fixed": "crème"}, {"original": "crÃ¨me", "fixed": "crÃ¨me"}]
    (tmp_path / "tests" / "test-cases" / "some.json").write_text(json.dumps(mojibake))
    assert verdicts(ftfy_cases(tmp_path)) == [True, True]  # the second is what ftfy makes of it

    feeds = tmp_path / "tests" / "wellformed"
    feeds.mkdir()
    for number, expected in enumerate(
        (
            "entries[0]['link'] == 'http://a.example/ä'",
            "entries[0].link == '/other'",
            "encoding == 'iso-8859-1'",
            "bozo",
        )
    ):
        feed = FEED.format(label="iso-8859-1", expected=expected, link="http://a.example/ä")
        (feeds / f"{number}.xml").write_bytes(feed.encode("iso-8859-1"))
    assert verdicts(feedparser_cases(tmp_path)) == [True, False, True, None]


def test_the_result_has_counts_and_reasons_and_nothing_of_the_peer(tmp_path: Path) -> None:
    peer = tmp_path / PEERS["google/robotstxt"].folder
    peer.mkdir()
    (peer / "robots_test.cc").write_text(GOOGLE.replace("Groups", "ID_Encoding"))
    git = ("git", "-C", peer, "-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "a")):
        subprocess.run([*git, *command], check=True)
    found = measure("google/robotstxt", tmp_path)
    assert len(found.pop("commit")) == 40
    reason = reason_of("google/robotstxt", "ID_Encoding:3")
    assert reason and found == {
        "cases": 3,
        "agree": 2,
        "differ": 1,
        "not_ours": 2,
        "differences": {"ID_Encoding:3": reason},
    }
    assert reason_of("google/robotstxt", "Groups:3") is None
