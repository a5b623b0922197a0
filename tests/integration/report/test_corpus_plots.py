"""The pictures of a corpus, drawn by matplotlib."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from run import main
from tasks.contracts.paths import Layout
from tasks.report.corpus_plots import draw_corpus
from tasks.report.stats import distributions
from tests.unit.report.test_stats import layout

__all__ = ["layout"]  # a fixture

DAYS = [str(day.date()) for day in pd.date_range("2024-01-01", periods=1500)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("nothing is cleaned yet", [(DAYS[0], "a.example", None)]),
        ("nothing is kept", [(DAYS[0], "a.example", "too_short"), (DAYS[0], "a.example", "duplicate_near")]),
        ("thousands of sites", [(DAYS[i % 40], f"{'long-' * (i % 9)}{i}.example", "kept") for i in range(3000)]),
        ("years of days", [(day, "$a$_{b}.example", ("kept", "duplicate_exact")[i % 2]) for i, day in enumerate(DAYS)]),
        ("many reasons", [(DAYS[i % 7], "local", f"reason_{i % 23}") for i in range(900)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_corpora_are_drawn_too(tmp_path: Path, name: str, rows: list[tuple[str, str, str | None]]) -> None:
    table = pd.DataFrame(rows, columns=["day", "site", "outcome"])
    kept = table["outcome"] == "kept"
    sizes = pd.Series(range(1, len(table) + 1), dtype="float64")
    table = table.assign(language="en", bytes=sizes, kept_bytes=sizes.where(kept))
    table = table.assign(tokens=table["kept_bytes"].astype("Int64"))
    dropped = table["outcome"][table["outcome"].notna() & ~kept].value_counts()
    stats = distributions(table) | {"documents": {"raw": len(table), "dropped": dropped.to_dict()}}
    (tmp_path / "languages.png").write_bytes(b"of another corpus")
    written = draw_corpus(stats, tmp_path)
    assert {path.stem for path in written} >= {"growth", "sites"} and all(
        path.stat().st_size > 1000 for path in written
    )
    assert ((tmp_path / "languages.png") in written) == (tmp_path / "languages.png").exists() == bool(kept.any())


def test_the_plots_are_drawn_on_the_command_line(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "--plots", "--json", "--data-dir", str(layout.root)]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["documents"]["raw"] == 22 and "6 plots in" in shown.err
    pictures = sorted((layout.reports / "corpus").iterdir())
    assert [path.stem for path in pictures] == ["copies", "growth", "languages", "lengths", "reasons", "sites"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
