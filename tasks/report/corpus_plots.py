"""Plots of the corpus from the numbers of `run.py stats --json`: growth, sites, languages, reasons, lengths, copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.report.night_plots import DROPPED, KEPT, MODEL

Stats = dict[str, Any]
FAINT, OTHERS = "#c3cfc8", "#a8a8a8"
COLOURS = (DROPPED, MODEL, "#e9b44c", "#7d4f9e", "#4f9da6", "#8c6d46")
MOST_BARS = 16  # rows of a bar chart; what is left is one more row, "others"
MOST_PERIODS = 62  # bars along time; more days are taken together as months, more months as years
MOST_DATES = 4  # labels along time
LONGEST_LABEL = 34  # characters


COPIES = {"duplicate_exact": "exact copies", "duplicate_near": "near copies"}


@dataclass(frozen=True, slots=True)
class _Plot:
    draw: Callable[[Sequence[Any], Stats], None]
    shows: Callable[[Stats], Any]  # the numbers; where there are none, nothing is drawn
    panels: int = 2
    width: float = 10  # inches
    bars: bool = False  # a row for each number; else along time, or a distribution


def draw_corpus(stats: Stats, folder: Path) -> list[Path]:
    """Write the plots that have something to show. Returns their paths, none for an empty corpus."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, plot in PLOTS.items():
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # an older one might stay where nothing is left to show
        shown = plot.shows(stats)
        if not shown:
            continue
        height = 0.6 + 0.27 * max(min(len(shown), MOST_BARS + 1), plot.panels + 1) if plot.bars else 3.4
        figure, axes = plt.subplots(1, plot.panels, figsize=(plot.width, height), layout="constrained", squeeze=False)
        plot.draw(axes[0], stats)
        for axis in axes[0]:
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_title(axis.get_title(), loc="left", fontsize="medium")
            axis.set_title("")
        figure.savefig(path, dpi=100)
        plt.close(figure)
        written.append(path)
    return written


# -- over time -------------------------------------------------------------------------------------------


def _growth(axes: Sequence[Any], stats: Stats) -> None:
    days = pd.DataFrame.from_dict(stats["days"], orient="index")
    total = days.set_axis(pd.to_datetime(days.index)).sort_index().cumsum()
    # The last day is as wide as the others, and a single one has a width.
    after = total.iloc[[-1]].set_axis([total.index[-1] + pd.Timedelta(days=1)])
    total = pd.concat([total, after])
    span = (total.index[-1] - total.index[0]).days
    ticks = [total.index[0] + pd.Timedelta(days=day) for day in range(0, span, -(-span // MOST_DATES))]
    axes[0].fill_between(total.index, total["raw"], step="post", color=FAINT, label="raw")
    axes[0].fill_between(total.index, total["kept"], step="post", color=KEPT, label="kept")
    axes[0].set_title("documents")
    _legend(axes[0])
    axes[0].locator_params(axis="y", integer=True)
    axes[1].fill_between(total.index, total["bytes"] / 1e6, step="post", color=KEPT)
    axes[1].set_title("kept text, MB")
    for axis in axes:
        axis.set_ylim(0, max(1.05 * axis.dataLim.ymax, 0.001))
        axis.set_xlim(total.index[0] - (total.index[-1] - total.index[0]) * 0.02, total.index[-1])
        axis.yaxis.set_major_formatter(_number)
        axis.set_xticks(ticks, [f"{day:%Y-%m-%d}" for day in ticks])


def _copies(axes: Sequence[Any], stats: Stats) -> None:
    settled = _by_period({day: {"settled": number} for day, number in stats["settled_by_day"].items()})["settled"]
    dropped = _by_period(stats["reasons_by_day"]).reindex(settled.index, fill_value=0)
    copies = dropped[[reason for reason in COPIES if reason in dropped]].rename(columns=COPIES)
    _stack(axes[0], (100 * copies).div(settled, axis=0), (DROPPED, "#e9b44c"))
    overall = 100 * copies.sum(axis=1).cumsum() / settled.cumsum()
    axes[0].plot(range(len(overall)), overall, color=MODEL, marker="o", markersize=3, label="all until then")
    axes[0].set_title("copies, % of the documents")
    _legend(axes[0])


def _by_period(days: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Returns counts by day, month or year, as coarse as needed to fit; zero where there was nothing."""
    table = pd.DataFrame.from_dict(days, orient="index").fillna(0).astype("int64").sort_index()
    for length in (10, 7, 4):  # 2026-11-22, 2026-11, 2026
        periods: pd.DataFrame = table.groupby(table.index.str[:length]).sum()
        if len(periods) <= MOST_PERIODS:
            break
    return periods


def _stack(axis: Any, heights: pd.DataFrame, colours: Sequence[str]) -> None:
    """Draw stacked bars along time: a row for each period, a column for each part."""
    labels = list(heights.index)
    heights.plot.bar(ax=axis, stacked=True, width=0.8, color=list(colours), legend=False, rot=0)
    axis.set_ylim(0, 1.05 * max(heights.sum(axis=1).max(), 0.001))
    axis.yaxis.set_major_formatter(_number)
    shown = range(0, len(labels), -(-len(labels) // MOST_DATES))
    axis.set_xticks(list(shown), [labels[place] for place in shown])
    axis.set_xlim(min(-0.6, len(labels) / 2 - 3), max(len(labels) - 0.4, len(labels) / 2 + 2))


# -- by name ---------------------------------------------------------------------------------------------


def _sites(axes: Sequence[Any], stats: Stats) -> None:
    sites = pd.DataFrame.from_dict(stats["sites"], orient="index")
    by_documents = _largest(sites.sort_values(["raw", "bytes"], ascending=False))
    _bars(axes[0], by_documents["kept"], KEPT, of=by_documents["raw"])
    axes[0].set_title(f"documents, kept of raw ({len(sites):,} site{'s' * (len(sites) != 1)})")
    by_bytes = _largest(sites.sort_values("bytes", ascending=False))["bytes"] / 1e6
    _bars(axes[1], by_bytes, KEPT, form="{:,.2f}")
    axes[1].set_title("kept text by site, MB")


def _languages(axes: Sequence[Any], stats: Stats) -> None:
    languages = pd.DataFrame({"kept": stats["languages"]}).sort_values("kept", ascending=False)
    _bars(axes[0], _largest(languages)["kept"], KEPT)
    axes[0].set_title("kept documents by language")


def _reasons(axes: Sequence[Any], stats: Stats) -> None:
    reasons = pd.DataFrame({"dropped": stats["documents"]["dropped"]}).sort_values("dropped", ascending=False)
    shown = _largest(reasons)["dropped"]
    colours = [*COLOURS, *[OTHERS] * len(shown)][: len(shown)]
    _bars(axes[0], shown, colours)
    axes[0].set_title("dropped, by reason")
    periods = _by_period(stats["reasons_by_day"])
    named = list(reasons.index[: len(COLOURS)])
    heights = periods[named].assign(others=periods.drop(columns=named).sum(axis=1))
    _stack(axes[1], heights, (*colours[: len(named)], OTHERS))  # the colours of the bars beside it
    axes[1].locator_params(axis="y", integer=True)
    axes[1].set_title("dropped, over time")


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the first rows, and the sum of the rest as one row."""
    if len(table) <= MOST_BARS + 1:
        return table
    rest = table.iloc[MOST_BARS:]
    others = pd.DataFrame([rest.sum()], index=[f"{len(rest):,} others"])
    return pd.concat([table.iloc[:MOST_BARS], others])


def _bars(
    axis: Any, values: pd.Series[Any], colour: str | list[str], form: str = "{:,.0f}", of: pd.Series[Any] | None = None
) -> None:
    """Draw horizontal bars, the first on top, each with its number behind the bar of the row's total (`of`)."""
    names = [_short(str(name)) for name in values.index]
    totals = values if of is None else of
    ends = axis.barh(range(len(names)), totals, color=FAINT, height=0.75)
    axis.barh(range(len(names)), values, color=colour, height=0.75)
    axis.set_yticks(range(len(names)), names, parse_math=False)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(max(len(names), 2) - 0.5, -0.5)
    axis.set_xlim(0, max(axis.get_xlim()[1], 0.001))
    axis.xaxis.set_visible(False)  # the numbers say it
    axis.spines["bottom"].set_visible(False)
    texts = [" of ".join(map(form.format, dict.fromkeys(pair))) for pair in zip(values, totals, strict=True)]
    axis.bar_label(ends, texts, padding=4, fontsize="small")


def _legend(axis: Any) -> None:
    """Above the plot, where nothing is drawn."""
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderpad=0, fontsize="small")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 12]}…{name[-11:]}"


# -- lengths ---------------------------------------------------------------------------------------------


def _lengths(axes: Sequence[Any], stats: Stats) -> None:
    for axis, unit, colour in zip(axes, ("bytes", "tokens"), (KEPT, MODEL), strict=True):
        axis.set_title(f"{unit} of a kept document")
        edges, counts = stats["histograms"][unit]["edges"], stats["histograms"][unit]["counts"]
        if not counts:
            axis.text(0.5, 0.5, "nothing yet", ha="center", transform=axis.transAxes, color=OTHERS)
            axis.set(xticks=[], yticks=[])
            continue
        axis.stairs(counts, edges, fill=True, color=colour)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(_number)
        axis.yaxis.set_major_formatter(_number)
        axis.locator_params(axis="y", integer=True)
        median = stats["lengths"][unit]["p50"]
        axis.axvline(median, color="black", linewidth=1, linestyle=":")
        axis.text(median, 1.0, f" median {median:,}", transform=axis.get_xaxis_transform(), va="top", fontsize="small")


def _number(value: float, _place: object = None) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3g}"


PLOTS = {
    "growth": _Plot(_growth, lambda stats: stats["days"]),
    "sites": _Plot(_sites, lambda stats: stats["sites"], width=11, bars=True),
    "languages": _Plot(_languages, lambda stats: stats["languages"], panels=1, width=5, bars=True),
    "reasons": _Plot(_reasons, lambda stats: stats["documents"]["dropped"]),
    "lengths": _Plot(_lengths, lambda stats: stats["histograms"]["bytes"]["counts"]),
    "copies": _Plot(_copies, lambda stats: stats["duplicates"]["documents"], panels=1),
}
