from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.export.dataset import export_dataset
from tasks.report import trace
from tasks.report.corpus_plots import draw_corpus
from tasks.report.stats import as_text, collect_stats, refused
from tests.support.corpora import document, prose
from tests.support.growth import grow, settings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = find_data_directory(tmp_path / "data")
    copies = [document(100, prose(1)), document(101, "Too short.")]
    grow(layout, [document(i) for i in range(20)] + copies, settings())
    return layout


def test_the_numbers_add_up(layout: Layout) -> None:
    stats = collect_stats(layout)
    documents = stats["documents"]
    assert documents["raw"] == 22 == documents["kept"] + sum(documents["dropped"].values())
    assert documents["dropped"] == {"duplicate_exact": 1, "too_short": 1}
    for name in ("days", "sites"):
        assert sum(group["raw"] for group in stats[name].values()) == 22
        assert sum(group["kept"] for group in stats[name].values()) == 20
    assert stats["languages"] == {"en": 20}
    assert stats["lengths"]["tokens"]["p0"] > 0 and stats["duplicates"] == {"documents": 1, "share": 0.0455}
    assert "22 raw = 20 kept + 2 dropped" in as_text(stats)


def test_kinds_of_page_and_texts_of_low_confidence(tmp_path: Path) -> None:
    layout = find_data_directory(tmp_path / "data")
    unsure = replace(document(1), kind="forum", confidence=0.31, rendered=True, body_sha256="1")
    sure = replace(document(2), kind="article", confidence=0.5, rendered=False, body_sha256="2")
    grow(layout, [document(0), unsure, sure], settings())
    stats = collect_stats(layout)
    assert stats["kinds"] == {"article": 1, "forum": 1} and stats["confidence"] == {"known": 2, "low": 1}
    text = as_text(stats)
    assert "1 forum" in text and "unsure     1 of 2 documents were read with a confidence below 0.5" in text
    told = [trace.as_text(trace.trace(one.url, layout)) for one in (document(0), unsure, sure)]
    assert "  read " not in told[0], "a document from before"
    assert "read        as forum, with confidence 0.31 (low), by Chromium" in told[1]
    assert "read        as article, with confidence 0.50, by plain HTTP" in told[2]


def test_nothing_yet_is_no_error(tmp_path: Path) -> None:
    stats = collect_stats(find_data_directory(tmp_path / "data"))
    assert stats["documents"]["raw"] == 0 and "none yet" in as_text(stats)
    assert draw_corpus(stats, tmp_path / "plots") == []


def test_the_json_has_what_the_plots_show(layout: Layout) -> None:
    stats = collect_stats(layout)
    assert stats["reasons_by_day"] == {"2026-11-22": {"duplicate_exact": 1, "too_short": 1}}
    assert stats["settled_by_day"] == {"2026-11-22": 22}
    for unit in ("bytes", "tokens"):
        edges, counts = stats["histograms"][unit]["edges"], stats["histograms"][unit]["counts"]
        assert sum(counts) == 20 and len(edges) == len(counts) + 1 and counts[0] and counts[-1]
        assert edges[0] <= stats["lengths"][unit]["p0"] and stats["lengths"][unit]["p100"] < edges[-1]


def test_what_was_refused_can_be_read(layout: Layout) -> None:
    (found,) = refused(layout, "duplicate_exact")
    assert found["url"] == "https://site1.example/page/100" and "of document 1" in found["detail"]
    assert (layout.raw / found["path"]).read_text() == prose(1)


def test_the_dataset_opens_in_pandas_with_its_provenance(layout: Layout, tmp_path: Path) -> None:
    target = tmp_path / "texts.parquet"
    assert export_dataset(layout, target) == 20
    table = pd.read_parquet(target)
    assert list(table["seq"]) == sorted(table["seq"]) and len(table) == 20
    assert table["url"][0] == "https://site0.example/page/0" and table["text"][0] == prose(0)
    with pytest.raises(DataDirectoryError, match="there already"):
        export_dataset(layout, target)
