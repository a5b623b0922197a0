from __future__ import annotations

from pathlib import Path

import pytest

from tasks.boilerplate import SEEN, SiteLines
from tasks.layout import find_data_directory
from tasks.state import open_state
from tests.corpora import document, prose
from tests.growth import derived_bytes, grow, rebuilt_bytes, settings

NOTICE = "We use cookies to make this site work and to see how you use it."


@pytest.fixture
def lines(tmp_path: Path) -> SiteLines:
    return SiteLines(open_state(tmp_path / "state.sqlite"))


def test_a_repeated_line_is_removed_once_it_was_seen_often_enough(lines: SiteLines) -> None:
    for seed in range(SEEN):
        page = f"{NOTICE}\n{prose(seed)}"
        assert lines.strip("a.example", page) == page
        lines.count("a.example", page)
    assert lines.strip("a.example", f"{NOTICE}\n{prose(9)}") == prose(9)
    assert NOTICE in lines.strip("b.example", f"{NOTICE}\n{prose(9)}"), "another site's line is its own"


@pytest.mark.parametrize("line", ["    return None", "}", "---", "x" * 600])
def test_code_rules_and_paragraphs_stay(lines: SiteLines, line: str) -> None:
    for seed in range(20):
        lines.count("a.example", f"{prose(seed)}{line}\n")
    assert line in lines.strip("a.example", f"{prose(99)}{line}\n")


def test_a_line_of_few_among_many_documents_stays(lines: SiteLines) -> None:
    for seed in range(100):
        lines.count("a.example", prose(seed) + ("Examples\n" if seed < 8 else ""))
    assert "Examples" in lines.strip("a.example", prose(200) + "Examples\n")


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
