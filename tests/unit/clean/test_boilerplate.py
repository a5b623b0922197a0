from __future__ import annotations

from pathlib import Path

import pytest

from tasks.clean.boilerplate import LINE, PERIOD, SEEN, Removed, SiteLines, line_keys
from tasks.contracts.paths import find_data_directory
from tasks.contracts.urls import site_of
from tasks.storage.state_db import open_state
from tests.support.corpora import document, prose
from tests.support.growth import derived_bytes, grow, rebuilt_bytes, settings

NOTICE = "We use cookies to make this site work and to see how you use it."


@pytest.fixture
def lines(tmp_path: Path) -> SiteLines:
    return SiteLines(open_state(tmp_path / "state.sqlite"))


def see(lines: SiteLines, site: str, page: str, counts: bool = True) -> str:
    return lines.strip(7, site, page, line_keys(page), counts)


def test_a_repeated_line_is_removed_once_it_was_seen_often_enough(lines: SiteLines) -> None:
    for seed in range(SEEN):
        page = f"{NOTICE}\n{prose(seed)}"
        assert see(lines, "a.example", page) == page
    assert see(lines, "a.example", f"{NOTICE}\n{prose(9)}", counts=False) == prose(9)
    assert NOTICE in see(lines, "b.example", f"{NOTICE}\n{prose(9)}", counts=False), "another site's line is its own"


def repeat(lines: SiteLines, page: str) -> str:
    """What is left of a page when its site has the same lines on each page, but for those with an @."""
    for seed in range(20):
        see(lines, "a.example", page.replace("@", f"In document {seed}:"))
    return see(lines, "a.example", page, counts=False)


MENU = "Home\nAbout us\nContact"
OWN = "@ Text that this page alone has."


@pytest.mark.parametrize(
    ("page", "left"),
    [
        (f"{MENU}\n\n{NOTICE}\n\n{OWN}", OWN),
        (f"{OWN}\n\n{NOTICE}\n\n---\n\n{MENU}", f"{OWN}\n\n---"),
        (f"{OWN}\n\nShare it\nPin it\nSend it\nRead on\n\n{OWN}", f"{OWN}\n\nRead on\n\n{OWN}"),
        (f"{MENU}\n\nDear readers,\n\n{OWN}", f"Dear readers,\n\n{OWN}"),
        (f"{MENU}\nSummary\n{OWN}", f"Summary\n{OWN}"),
        (f"{MENU}\n{OWN}\n1852\n\nSummary\n\n{OWN}\n\nYours sincerely", f"Contact\n{OWN}\n1852\n\nSummary\n\n{OWN}"),
    ],
    ids=["head", "tail", "share bar", "salutation", "heading at the start", "heading in the middle"],
)
def test_what_stands_around_the_text_goes(lines: SiteLines, page: str, left: str) -> None:
    assert repeat(lines, page) == left + "\n"


@pytest.mark.parametrize(
    "page",
    [
        f"Dear readers,\n\n{OWN}",
        f"Liebe Leserinnen und Leser!\n\n{OWN}",
        f"各位读者：\n\n{OWN}",
        f"{OWN}\n\nSummary\n\n{OWN}\n\nRecipes\nWhat you need\n\n{OWN}",
        f"{OWN}\n\n{NOTICE}\n\n{OWN}",
        f"{OWN}\n\n- Salt\n- Pepper\n- Oil\n\n{OWN}",
        f"{OWN}\n\n| Salt | 2 g\n| Pepper | 1 g\n| Oil | 3 g\n\n{OWN}",
        f"Price\n12.50\n\n{OWN}",
        f"{OWN}\n\nTRY\n    lamp.on\nOTHERWISE\n    lamp.off\nEND",
        f"{OWN}\n\nlamp = Lamp()\n\nturn it on\n\nlamp.on()",
        f"{OWN}\n\nimport lamp;\nlamp on\nlamp off\nexit();",
        f"{OWN}\n\nlamps:\n  - oil\n  - gas\nhorns:",
        f"#!/bin/sh\nlamp on\necho $?;\n\n{OWN}",
    ],
)
def test_what_belongs_to_the_text_stays(lines: SiteLines, page: str) -> None:
    assert repeat(lines, page) == page


def test_files_of_the_user_are_never_touched(lines: SiteLines) -> None:
    for seed in range(20):
        page = f"{NOTICE}\n{prose(seed)}"
        assert see(lines, site_of(f"file:///home/ann/{seed}.txt"), page) == page


def test_what_is_removed_is_counted_by_document(lines: SiteLines) -> None:
    for seed in range(SEEN):
        see(lines, "a.example", f"{prose(seed)}{MENU}\n")
    see(lines, "a.example", f"{prose(9)}{MENU}\n")
    assert lines.removed(7) == Removed()
    lines.save()
    assert lines.removed(7) == Removed(3, len(MENU) - 2)
    lines.clear()
    assert lines.removed(7) == Removed()


@pytest.mark.parametrize("line", ["    return None", "}", "---", "x" * 1600])
def test_code_rules_and_paragraphs_stay(lines: SiteLines, line: str) -> None:
    for seed in range(20):
        see(lines, "a.example", f"{prose(seed)}{line}\n")
    assert line in see(lines, "a.example", f"{prose(99)}{line}\n", counts=False)


def test_a_line_of_few_among_many_documents_stays(lines: SiteLines) -> None:
    for seed in range(100):
        see(lines, "a.example", prose(seed) + ("Examples\n" if seed < 8 else ""))
    assert "Examples" in see(lines, "a.example", prose(200) + "Examples\n")


def test_a_notice_that_a_large_site_adds_late_is_found_as_soon(lines: SiteLines) -> None:
    for seed in range(300):
        see(lines, "a.example", prose(seed, words=60))
    for seed in range(300, 300 + SEEN):
        see(lines, "a.example", f"{NOTICE}\n{prose(seed, words=60)}")
    assert NOTICE not in see(lines, "a.example", f"{NOTICE}\n{prose(9)}", counts=False)


def test_what_is_remembered_of_a_site_is_bounded_and_saved(lines: SiteLines) -> None:
    for seed in range(20 * PERIOD):
        see(lines, "a.example", f"{NOTICE}\nthe heading of page {seed}\n")
    lines.save()
    lines.begin()
    (stored,) = lines.db.execute("SELECT pages, lines FROM site_lines").fetchall()
    assert stored["pages"] == 20 * PERIOD
    assert len(stored["lines"]) <= PERIOD * LINE.itemsize
    assert NOTICE not in see(lines, "a.example", f"{NOTICE}\n{prose(9)}", counts=False)


def test_what_was_not_saved_is_forgotten(lines: SiteLines) -> None:
    for seed in range(2 * SEEN):
        see(lines, "a.example", f"{NOTICE}\n{prose(seed)}")
    lines.begin()
    assert NOTICE in see(lines, "a.example", f"{NOTICE}\n{prose(9)}", counts=False)


def test_new_versions_of_one_page_make_nothing_boilerplate(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path / "data")
    shared = "A paragraph of the article itself, which all its versions have."
    versions = [document(i, f"{prose(i)}{shared}\n", "https://one.example/page") for i in range(12)]
    grow(layout, versions, settings())
    kept = [path.read_text() for path in layout.cleaned.rglob("*.txt")]
    assert len(kept) == 12
    assert all(shared in text for text in kept)


def test_boilerplate_is_gone_from_the_sixth_document_and_a_rebuild_agrees(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path / "data")
    pages = [document(i, f"{prose(i)}{NOTICE}\n", f"https://one.example/{i}") for i in range(30)]
    grow(layout, pages[:3], settings(batch=2))
    grow(layout, pages[3:20], settings(batch=7))
    grow(layout, pages[20:], settings(batch=50))
    incremental = derived_bytes(layout.root)
    with_notice = [
        name for name, content in incremental.items() if name.endswith(".txt") and NOTICE.encode() in content
    ]
    assert len(with_notice) == SEEN
    assert incremental == rebuilt_bytes(layout, tmp_path / "rebuilt", settings())
