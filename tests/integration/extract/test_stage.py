"""The extraction child: what it gives, and that it never costs more than its page."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tasks.contracts.paths import PROJECT
from tasks.contracts.records import Dropped, Extracted, Hit, Page
from tasks.contracts.settings import ExtractSettings
from tasks.extract.stage import extract, extract_file, prefetch
from tasks.extract.worker_pool import LARGE, Extractor
from tests.support.loopback import article, repeated

URL = "https://a.example/page"


@pytest.fixture(scope="module")
def extractor() -> Iterator[Extractor]:
    with Extractor(ExtractSettings()) as opened:
        yield opened


def page(folder: Path, body: bytes, media_type: str = "text/html", charset: str | None = None) -> Page:
    path = folder / f"{abs(hash(body))}"
    path.write_bytes(body)
    hit = Hit("https://a.example/asked", "site", "https://a.example/")
    return Page(
        hit, URL, 200, media_type, charset, str(path), "", False, "2026-11-22T03:00:00+00:00", "robots.txt: absent"
    )


def reason(result: Extracted) -> str:
    return result.dropped.reason if result.dropped else "document"


LINKS = "".join(f"<li><a href='/{n}'>A rather long title of article number {n}</a></li>" for n in range(40))


def test_each_page_has_one_result_in_order(tmp_path: Path, extractor: Extractor) -> None:
    gone = Dropped("render", "not_found")
    pages: list[Page | Dropped] = [
        page(tmp_path, article()),
        gone,
        page(tmp_path, b"<html><body></body></html>"),
        page(tmp_path, b"<html><body><article><p>Only a few words here.</p></article></body></html>"),
        page(tmp_path, f"<html><body><main><ul>{LINKS}</ul></main></body></html>".encode()),
        page(tmp_path, article(head='<meta name="robots" content="noai">', extra="<a href=/on>on</a>")),
        page(tmp_path, "Grüße aus dem Hafen. ".encode("latin-1") * 20, "text/plain", "latin-1"),
    ]
    results = extract(pages, extractor)
    expected = ["document", "not_found", "no_text", "too_short", "listing", "noindex", "document"]
    assert [reason(result) for result in results] == expected
    assert results[1].dropped is gone
    assert len(results[4].links) == 40 and results[5].links == ("https://a.example/on",)
    document = results[0].document
    assert document is not None
    assert (document.title, document.url, document.final_url) == ("The harbour", "https://a.example/asked", URL)
    assert document.robots == "robots.txt: absent; meta: -" and document.fetched_at == "2026-11-22T03:00:00+00:00"
    assert results[6].document is not None and results[6].document.text == "Grüße aus dem Hafen. " * 20


def test_what_the_page_says_of_itself_goes_along(tmp_path: Path, extractor: Extractor) -> None:
    head = (
        '<meta name="author" content="Ada Byron"><meta name="date" content="2024-03-09">'
        '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    )
    document = extract([page(tmp_path, article(head=head).replace(b"<html>", b'<html lang="en-GB">'))], extractor)[
        0
    ].document
    assert document is not None
    assert (document.author, document.published, document.language) == ("Ada Byron", "2024-03-09", "en-GB")
    assert document.licence == "https://creativecommons.org/licenses/by/4.0/" and document.rights is None


def test_the_consensus_can_be_switched_off(tmp_path: Path, extractor: Extractor) -> None:
    body = repeated(article())
    together = extract([page(tmp_path, body)], extractor)[0].document
    with Extractor(ExtractSettings(consensus=False)) as plain:
        alone = extract([page(tmp_path, body)], plain)[0].document
    assert together is not None and together.extractor.startswith("blocks ")
    assert alone is not None and alone.extractor.startswith("trafilatura ")
    assert (together.text.count("0. The harbour"), alone.text.count("0. The harbour")) == (1, 2)


def test_what_is_no_text_is_named_whatever_its_label(tmp_path: Path, extractor: Extractor) -> None:
    (tmp_path / "paper.txt").write_bytes(b"%PDF-1.7")
    results = [
        *extract([page(tmp_path, b"%PDF-1.7 " + b"x" * 500)], extractor),
        extract_file(tmp_path / "paper.txt", extractor),
    ]
    assert [reason(result) for result in results] == ["unsupported_media_type"] * 2
    assert [result.dropped.detail for result in results if result.dropped] == [
        "text/html: it is PDF",
        "paper.txt: it is PDF",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"<div>" * 100_000 + b"<p>" + b"word " * 1000 + b"</p>",
        b"<article>" + b"word<br>" * 100_000,
        b"<p>" + b"word <b>" * 100_000,
        b"<table>" + b"<tr><td>a<td>b" * 100_000,
        b"<blockquote>" * 100_000 + b"word",
    ],
    ids=["nested", "breaks", "bold", "rows", "quotes"],
)
def test_hostile_pages_end_in_one_named_outcome(tmp_path: Path, body: bytes) -> None:
    with Extractor(ExtractSettings(timeout_seconds=5.0)) as extractor:
        results = extract([page(tmp_path, b"<html><body>" + body), page(tmp_path, article("After"))], extractor)
    known = {"document", "no_text", "too_short", "extract_timeout", "extract_failed"}
    assert reason(results[0]) in known and reason(results[1]) == "document"


def test_the_child_is_reused(tmp_path: Path, extractor: Extractor) -> None:
    extract([page(tmp_path, article())], extractor)
    before = extractor.pool.pids
    extract([page(tmp_path, article("Other"))], extractor)
    assert before and extractor.pool.pids == before


def test_a_page_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with Extractor(ExtractSettings(timeout_seconds=1.0)) as extractor:
        extract([page(tmp_path, article())], extractor)
        slow = page(tmp_path, b"<html><body>" + b"<p>word</p><br>" * 100_000)
        started = time.monotonic()
        results = extract([slow, page(tmp_path, article("After"))], extractor)
        assert [reason(result) for result in results] == ["extract_timeout", "document"]
        assert time.monotonic() - started < 10


def test_a_page_that_takes_too_much_memory_costs_only_itself(tmp_path: Path) -> None:
    with Extractor(ExtractSettings(memory_megabytes=400)) as extractor:
        huge = page(tmp_path, b"\xff\xfe" + "<p>x ".encode("utf-16-le") * 3_000_000)
        results = extract([huge, page(tmp_path, article("After"))], extractor)
        assert [reason(result) for result in results] == ["extract_failed", "document"]


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    with Extractor(ExtractSettings(workers=1)) as extractor:
        extract([page(tmp_path, article())], extractor)
        os.kill(extractor.pool.pids[0], signal.SIGKILL)
        results = extract([page(tmp_path, article()), page(tmp_path, article("Next"))], extractor)
        assert [reason(result) for result in results] == ["extract_failed", "document"]


def test_several_children_prefetch_and_the_results_come_in_order(tmp_path: Path) -> None:
    pages = [page(tmp_path, article(f"Number {number}")) for number in range(12)]
    with Extractor(ExtractSettings(workers=3)) as extractor:
        for one in reversed(pages):
            prefetch(one, extractor)
        results = extract(pages, extractor)
        children = [psutil.Process(pid) for pid in extractor.pool.pids]
        assert len(children) == 3
    assert [one.document.title for one in results if one.document] == [f"Number {number}" for number in range(12)]
    assert not any(child.is_running() for child in children)


def test_what_was_begun_is_dropped_when_the_night_ends(tmp_path: Path) -> None:
    with Extractor(ExtractSettings(workers=2)) as extractor:
        for number in range(6):
            prefetch(page(tmp_path, b"<html><body>" + b"<p>word</p><br>" * 30_000 + b"x" * number), extractor)
        started = time.monotonic()
        while not extractor.pool.pids and time.monotonic() - started < 30:
            time.sleep(0.05)
        children = [psutil.Process(pid) for pid in extractor.pool.pids]
    assert children and not any(child.is_running() for child in children) and extractor.pool.pids == []


def test_large_pages_are_not_prefetch_and_one_at_a_time(tmp_path: Path) -> None:
    large = [page(tmp_path, article(f"Number {number}") + b" " * LARGE) for number in range(4)]
    with Extractor(ExtractSettings(workers=2)) as extractor:
        for one in large:
            prefetch(one, extractor)
        assert extractor.pool.pids == []
        results = extract(large, extractor)
        assert len(extractor.pool.pids) == 1
    assert [one.document.title for one in results if one.document] == [f"Number {number}" for number in range(4)]


def test_links_are_looked_for_where_they_are_followed(tmp_path: Path, extractor: Extractor) -> None:
    linked = page(tmp_path, article(extra="<a href=/on>on</a>"))
    listed = replace(linked, hit=Hit("https://a.example/asked", "feed", "https://a.example/feed"))
    assert [one.links for one in extract([linked, listed], extractor)] == [("https://a.example/on",), ()]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_child_does_not_outlive_us(tmp_path: Path, busy: bool) -> None:
    script = (
        "import sys, time\nfrom tasks.extract.extracted_page import PageFile\n"
        "from tasks.extract.worker_pool import Extractor\n"
        "from tasks.contracts.settings import ExtractSettings\n"
        "extractor = Extractor(ExtractSettings(workers=1))\n"
        "first, then = [PageFile(path, 'https://a.example/', None, 'text/html') for path in sys.argv[1:]]\n"
        "extractor.extract(first)\nextractor.prefetch(then)\ntime.sleep(0.5)\n"
        "print(extractor.pool.pids[0], flush=True)\ntime.sleep(60)\n"
    )
    slow = b"<html><body>" + b"<p>word</p><br>" * 100_000
    paths = [page(tmp_path, body).body_path for body in (article(), slow if busy else article("Next"))]
    owner = subprocess.Popen([sys.executable, "-c", script, *paths], cwd=PROJECT, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    child = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_files_of_the_users_own(tmp_path: Path, extractor: Extractor) -> None:
    (tmp_path / "note.md").write_text("# Short\n\nbut *mine*\n")
    (tmp_path / "page.html").write_bytes(article("Saved"))
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    names = ("note.md", "page.html", "empty.txt", "binary.txt", "photo.jpg", "missing.txt")
    results = [extract_file(tmp_path / name, extractor) for name in names]
    expected = ["document", "document", "no_text", "unreadable", "unsupported_media_type", "unreadable"]
    assert [reason(result) for result in results] == expected
    note, saved = results[0].document, results[1].document
    assert note is not None and note.text == "# Short\n\nbut *mine*\n" and note.provider == "local"
    assert note.url == (tmp_path / "note.md").as_uri() and note.title == "note.md"
    assert saved is not None and saved.title == "Saved"
