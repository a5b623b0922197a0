"""Plots of all nights so far, drawn in a process of its own so that matplotlib's memory goes back.

`python -m tasks.report.night_plots DATA_DIR PNG`
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.contracts.paths import PROJECT, Layout
from tasks.storage.atomic_files import read_json

KEPT, DROPPED, MODEL, OLDEST = "#2c6e49", "#c8553d", "#274690", "#e9b44c"
GOOD = ("kept", "stored", "unchanged", "reextractable")


def draw_nights(layout: Layout, target: Path) -> bool:
    """Write the picture. Returns false where it could not be drawn."""
    command = [sys.executable, "-m", "tasks.report.night_plots", str(layout.root), str(target)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, timeout=120, check=False).returncode == 0


def main(root: Path, target: Path) -> None:
    """Draw growth, bits per byte and outcomes side by side, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = map(read_json, sorted(Layout(root).reports.glob("*/report.json")))
    nights = [record for record in records if record and "documents" in record]  # without those that cannot be read
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), constrained_layout=True)
    _growth(axes[0], nights)
    _bits(axes[1], nights)
    _reasons(axes[2], nights[-1] if nights else {})
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=80)


def _growth(axis: Any, nights: list[dict[str, Any]]) -> None:
    kept = [night["documents"]["kept"] for night in nights]
    _line(axis, nights, kept, color=KEPT, drawstyle="steps-post")
    axis.set_title("documents kept")
    axis.set_ylim(bottom=0)


def _bits(axis: Any, nights: list[dict[str, Any]]) -> None:
    """Draw the published model's scores: on all held-out text, and on the first night's, which shows forgetting."""
    for name, label, colour in (
        ("bits_per_byte", "all text", MODEL),
        ("oldest_bits_per_byte", "the first night's", OLDEST),
    ):
        scores = [(night.get("training") or {}).get(name) for night in nights]
        _line(axis, nights, scores, color=colour, label=label)
    axis.legend(frameon=False, fontsize="small")
    axis.set_title("held-out bits per byte")


def _line(axis: Any, nights: list[dict[str, Any]], values: list[Any], **style: Any) -> None:
    """Draw a value of each night that has one over time."""
    from matplotlib import dates

    points = [(night["started"], value) for night, value in zip(nights, values, strict=True) if value is not None]
    times = [datetime.fromisoformat(started) for started, _ in points]
    axis.plot(times, [value for _, value in points], marker="o", markersize=3, **style)
    make: Any = dates  # it has no types of its own for these two
    axis.xaxis.set_major_locator(locator := make.AutoDateLocator(maxticks=6))
    axis.xaxis.set_major_formatter(make.ConciseDateFormatter(locator))


def _reasons(axis: Any, night: dict[str, Any]) -> None:
    counts: Counter[str] = Counter()
    for stage in ("collect", "clean", "dedup"):
        counts.update(night.get("stages", {}).get(stage, {}).get("counts", {}))
    shown = counts.most_common(8)[::-1]
    colours = [KEPT if name in GOOD else DROPPED for name, _ in shown]
    axis.barh([name for name, _ in shown], [number for _, number in shown], color=colours)
    if shown:
        axis.bar_label(axis.containers[0], padding=2)
    axis.set_title("tonight, by outcome")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
