"""The demo site over real HTTP: what a crawler, a browser and a second night must be able to rely on."""

import html
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from urllib.robotparser import RobotFileParser

import ftfy
import httpx
import pytest
import trafilatura

from tasks.demo_site import COOKIE_NOTICE, Article, DemoSite, PortTakenError

_LINK = re.compile(r'<a [^>]*href="([^"]+)"')


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with DemoSite(port=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(site: DemoSite) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, headers={"User-Agent": "test"}, trust_env=False) as opened:
        yield opened


def _of(site: DemoSite, variant: str) -> list[Article]:
    return [article for article in site.articles if article.variant == variant]


def _crawl(client: httpx.Client, robots: RobotFileParser) -> dict[str, int]:
    """Follow every link of the site that robots.txt allows; the status of each path."""
    seen: dict[str, int] = {}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        if path in seen or not robots.can_fetch("test", path):
            continue
        answer = client.get(path)
        seen[path] = answer.status_code
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            waiting += [urljoin(path, to) for to in _LINK.findall(answer.text) if not to.startswith("http")]
        elif "Location" in answer.headers:
            waiting.append(answer.headers["Location"])
    return seen


def _extract(page: str) -> str:
    return trafilatura.extract(page, include_comments=False) or ""


def _letters(text: str) -> str:
    return re.sub(r"\W+", "", text).lower()


def _sentences(page: str) -> list[str]:
    body = page[page.index('<div class="article-body">') : page.index("</article>")]
    paragraphs = [html.unescape(re.sub("<[^>]+>", "", text)) for text in re.findall("<p>(.*?)</p>", body, re.S)]
    return [sentence for text in paragraphs for sentence in re.split(r"(?<=[.!?])\s", text) if len(sentence) > 20]


def test_a_crawl_reaches_all_that_is_published_and_keeps_out_of_the_private_corner() -> None:
    with DemoSite(port=0) as site, httpx.Client(base_url=site.url, trust_env=False) as client:
        robots = RobotFileParser()
        robots.parse(client.get("/robots.txt").text.splitlines())
        seen = _crawl(client, robots)
        assert {article.path for article in site.articles} <= seen.keys()
        assert Counter(seen.values()) == {200: len(seen) - 3, 404: 1, 301: 1, 503: 1}
        assert '"/private/"' in client.get("/").text
        assert not [request for request in site.requests if request.path.startswith("/private")]
        assert client.get("/private/").status_code == 200  # it is there, and a visit would have been seen
        assert site.requests[-1][:2] == ("GET", "/private/")


def test_it_has_the_size_and_the_kinds_that_the_demo_counts_on(site: DemoSite) -> None:
    kinds = Counter(article.section for article in site.articles)
    assert kinds["language"] > 60
    assert kinds["library"] > 200
    assert kinds["packages"] > 20
    assert kinds["notes"] == 19
    assert sum(len(part.text) for article in site.articles for part in article.parts) > 2_000_000
    variants = Counter(article.variant for article in site.articles)
    assert (variants["app"], variants["mojibake"], variants["near_copy"], variants["exact_copy"]) == (
        6,
        3,
        4,
        1,
    )
    ours = [a for a in site.articles if a.section == "notes" and a.variant not in ("short", "empty")]
    assert all(len(article.parts[0].text) > 800 for article in ours)
    assert len({article.path for article in site.articles}) == len(site.articles)


def test_nothing_that_is_documented_was_imported() -> None:
    program = (
        "import sys, tasks.demo_site.articles as a; before = set(sys.modules); a.all_articles();"
        "print(sorted(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {"antigravity", "this", "tkinter", "turtle", "torch"} & set(json.loads(out.replace("'", '"')))


def test_an_extractor_gets_the_article_and_not_what_stands_around_it(site: DemoSite, client: httpx.Client) -> None:
    sample = [article for article in site.articles if article.variant == "plain"][::12]
    kept = total = 0
    for article in sample:
        page = client.get(article.path).text
        text = _extract(page)
        assert COOKIE_NOTICE in page and COOKIE_NOTICE not in text, article.path
        assert "Our monthly letter" not in text and "Read on in peace" not in text, article.path
        sentences, letters = _sentences(page), _letters(text)
        kept += sum(_letters(sentence) in letters for sentence in sentences)
        total += len(sentences)
    assert len(sample) > 20
    assert total > 500
    assert kept / total > 0.97


def test_javascript_pages_say_nothing_without_javascript(site: DemoSite, client: httpx.Client) -> None:
    for article in _of(site, "app"):
        page = client.get(article.path).text
        opening = article.parts[0].text.strip().splitlines()[0]
        assert opening not in page
        assert article.title not in page
        assert len(_extract(page)) < 100
        data = client.get(f"/api/{article.slug}.json").json()
        assert data["title"] == article.title
        assert data["paragraphs"][0].startswith(opening)


def test_mojibake_is_mended_by_ftfy(site: DemoSite, client: httpx.Client) -> None:
    for article in _of(site, "mojibake"):
        text = _extract(client.get(article.path).text)
        assert text.count("â€™") > 5
        assert "Ã" in text
        mended = ftfy.fix_text(text, uncurl_quotes=False)
        assert "â€" not in mended
        assert "Ã" not in mended
        assert "\N{RIGHT SINGLE QUOTATION MARK}" in mended


def test_copies(site: DemoSite, client: httpx.Client) -> None:
    original = _extract(client.get("/notes/how-to-sharpen-a-kitchen-knife").text)
    (exact,) = _of(site, "exact_copy")
    assert _extract(client.get(exact.path).text) == original
    for article in _of(site, "near_copy"):
        copy = _extract(client.get(article.path).text)
        ours, theirs = ({tuple(t.split()[i : i + 3]) for i in range(len(t.split()) - 2)} for t in (original, copy))
        assert copy != original
        assert len(ours & theirs) / len(ours | theirs) > 0.9


def test_latin1_is_told_by_the_header_alone(site: DemoSite, client: httpx.Client) -> None:
    (article,) = _of(site, "latin1")
    answer = client.get(article.path)
    assert answer.headers["Content-Type"] == "text/html; charset=ISO-8859-1"
    assert b"charset" not in answer.content
    assert "Frau Müller".encode("latin-1") in answer.content
    assert "señor Ibáñez" in answer.text


def test_odd_answers(client: httpx.Client, site: DemoSite) -> None:
    pdf = client.get("/files/handbook.pdf")
    assert pdf.headers["Content-Type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF-1.4")
    start = int(pdf.content.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf.content[start:].startswith(b"xref")
    assert client.get("/old/knives.html", follow_redirects=True).status_code == 200
    assert client.get(_of(site, "empty")[0].path).content == b""
    assert client.get("/no/such/page").status_code == 404
    assert client.get(_of(site, "short")[0].path + "?from=mail").status_code == 200
    assert client.post("/subscribe").status_code == 501
    head = client.head("/")
    assert head.content == b""
    assert int(head.headers["Content-Length"]) > 1000


def test_503_once_then_200() -> None:
    with DemoSite(port=0) as site, httpx.Client(base_url=site.url, trust_env=False) as client:
        (article,) = _of(site, "flaky")
        answers = [client.get(article.path) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503, 200, 200]
        assert answers[0].headers["Retry-After"] == "1"
        site.fail_next("/", times=2)
        assert [client.get("/").status_code for _ in range(3)] == [503, 503, 200]


def test_not_modified(site: DemoSite, client: httpx.Client) -> None:
    path = next(article.path for article in site.articles if article.variant == "plain")
    first = client.get(path)
    for condition in (
        {"If-None-Match": first.headers["ETag"]},
        {"If-None-Match": f'"other", W/{first.headers["ETag"]}'},
        {"If-Modified-Since": first.headers["Last-Modified"]},
    ):
        again = client.get(path, headers=condition)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
    newer = {"If-None-Match": '"other"', "If-Modified-Since": first.headers["Last-Modified"]}
    assert client.get(path, headers=newer).status_code == 200
    assert client.get(path, headers={"If-Modified-Since": "yesterday"}).status_code == 200


def test_the_site_grows_and_old_pages_stay_as_they_were() -> None:
    with DemoSite(port=0, night=1) as site, httpx.Client(base_url=site.url, trust_env=False) as client:
        robots = RobotFileParser()
        robots.parse(client.get("/robots.txt").text.splitlines())
        shown = []
        for night in (1, 2, 3):
            site.publish_night(night)
            published = {article.path for article in site.articles}
            reached = _crawl(client, robots)
            assert published <= reached.keys()
            assert sum(status == 404 for status in reached.values()) <= 2  # the one dead link, and the redirect's end
            assert {"language", "library", "packages", "notes"} == {a.section for a in site.articles}
            shown.append(published)
            if night == 1:
                before = {path: client.get(path).headers["ETag"] for path in sorted(published)[::10]}
                front = client.get("/").headers["ETag"]
        assert shown[0] < shown[1] < shown[2]
        assert len(shown[0]) == round(0.6 * len(shown[2]))
        assert before == {path: client.get(path).headers["ETag"] for path in before}
        assert client.get("/", headers={"If-None-Match": front}).status_code == 200
        site.publish(10)
        assert client.get(max(shown[2] - {a.path for a in site.articles})).status_code == 404
    with pytest.raises(ValueError, match="night is 0"):
        DemoSite(port=0, night=0)


def test_as_a_program_it_makes_the_same_pages_logs_and_stops(site: DemoSite, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    command = [
        sys.executable,
        "-m",
        "tasks.demo_site",
        "--port",
        "0",
        "--night",
        "2",
        "--log",
        str(log),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[-1]
            paths = [article.path for article in site.articles if article.variant != "flaky"][:300:15]
            with httpx.Client(base_url=url, headers={"User-Agent": "ours"}, trust_env=False) as client:
                theirs = [client.get(path).headers["ETag"] for path in paths]
            lines = [json.loads(line) for line in log.read_text().splitlines()]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert theirs == [httpx.get(site.url + path, trust_env=False).headers["ETag"] for path in paths]
    assert [line["path"] for line in lines] == paths
    assert {(line["method"], line["user_agent"], line["status"]) for line in lines} == {("GET", "ours", 200)}


def test_a_taken_port_is_named_with_the_way_out(site: DemoSite) -> None:
    with pytest.raises(PortTakenError, match=rf"port {site.port} .*--port N"):
        DemoSite(port=site.port)


def test_a_closed_site_is_dead_at_once_also_for_clients_that_were_connected() -> None:
    site = DemoSite(port=0)
    with httpx.Client(base_url=site.url, trust_env=False) as client:
        assert client.get("/").status_code == 200
        site.close()
        with pytest.raises(httpx.TransportError):
            client.get("/")
    with DemoSite(port=site.port):
        pass
