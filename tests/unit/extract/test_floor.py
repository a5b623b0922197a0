"""Extraction of each kind of page stays above its floor: F1 of the words on pages of our own (tests/pages)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.floor import by_kind, floors, marked_pages, read_marked, renew, scores

KINDS = ["article", "collection", "documentation", "forum", "listing", "product", "reference", "service", "wiki"]


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    return scores()


def test_each_kind_has_pages_and_a_floor() -> None:
    assert list(floors()) == KINDS
    assert all(sum(page.kind == kind for page in marked_pages()) >= 4 for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor(kind: str, found: dict[str, float]) -> None:
    f1, floor = by_kind(found)[kind], floors()[kind]
    worst = min((page for page in found if page.startswith(f"{kind}/")), key=lambda page: found[page])
    assert f1 >= floor, (
        f"F1 of {kind} is {f1:.3f}, its floor {floor}; worst is {worst} with {found[worst]:.3f}. "
        "See: python -m benchmarks.floor --pages"
    )


def test_the_marks_of_a_page(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        '<nav>Menu</nav><main id="m" data-truth="yes"><h1 data-truth="either">Low tide</h1><p>The <b>bo</b>ats<!-- --> '
        'lie<br>down.<a href="#" data-truth="no">edit</a></p><pre><i>x</i>+1</pre></main>最後',
        encoding="utf-8",
    )
    page = read_marked(file)
    assert page.body.startswith(b'<nav>Menu</nav><main id="m"><h1>Low tide</h1><p>The <b>bo</b>ats<!-- --> lie<br>')
    assert sorted(page.wanted) == ["1", "boats", "down", "lie", "the", "x"]
    assert page.score("The boats lie down. x+1") == page.score("Low tide The boats lie down. x+1") == 1.0
    assert page.score("The boats lie. x+1") == pytest.approx(10 / 11)
    assert page.score("Menu The boats lie down. x+1") == pytest.approx(12 / 13)
    assert page.score("Low Low tide The boats lie down. x+1") == pytest.approx(12 / 13)
    assert page.score("") == 0.0


def test_no_mark_is_left_in_a_page_and_each_has_truth() -> None:
    for page in marked_pages():
        assert b"data-truth" not in page.body and page.wanted.total() > 80, page.name


def test_a_floor_that_sinks_needs_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "floor.json"
    file.write_text('{"f1": {"wiki": 0.9}, "lowered": []}')
    renew({"wiki": 0.959, "forum": 0.5}, "", file)
    assert json.loads(file.read_text()) == {"f1": {"wiki": 0.95, "forum": 0.5}, "lowered": []}
    with pytest.raises(ValueError, match=r"wiki 0.95 -> 0.94"):
        renew({"wiki": 0.949, "forum": 0.5}, "", file)
    renew({"wiki": 0.949, "forum": 0.5}, "tables went", file)
    assert json.loads(file.read_text()) == {
        "f1": {"wiki": 0.94, "forum": 0.5},
        "lowered": ["wiki 0.95 -> 0.94: tables went"],
    }
