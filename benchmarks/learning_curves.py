"""nanoGPT's log lines read as a curve, and curves drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

Json = dict[str, Any]
STEP = re.compile(r"step (\d{1,9}): train loss ([\d.]{1,12}), val loss ([\d.]{1,12})")
ITERATION = re.compile(r"iter (\d{1,9}): loss ([\d.]{1,12}), time ([\d.]{1,12})ms")


def nanogpt_point(line: str, seconds: float) -> Json | None:
    """What one line of nanoGPT's log says, read so many seconds after the start; None where it is of something else."""
    if found := STEP.match(line):
        return {"seconds": seconds, "step": int(found[1]), "val_loss": float(found[3])}
    if found := ITERATION.match(line):
        return {"seconds": seconds, "step": int(found[1]), "train_loss": float(found[2])}
    return None


def thinned(curve: list[Json], every_seconds: float) -> list[Json]:
    """Validation points all; training losses as means over so many seconds each."""
    points: list[Json] = []
    losses: list[float] = []
    for point in curve:
        if "val_loss" in point:
            points.append(point)
            continue
        losses.append(point["train_loss"])
        last = next((p["seconds"] for p in reversed(points) if "train_loss" in p), None)
        if last is None or point["seconds"] - last >= every_seconds:
            points.append(point | {"train_loss": round(sum(losses) / len(losses), 4)})
            losses = []
    return points


def curve_lines(name: str, curve: list[Json], most: int = 12) -> list[str]:
    """A few points of a curve, as text."""
    chosen = [curve[i * (len(curve) - 1) // max(1, most - 1)] for i in range(most)] if len(curve) > most else curve
    return [
        f"  {name:24} {p['seconds']:7.1f} s  "
        + "  ".join(f"{key.removesuffix('_loss')} {p[key]:.3f}" for key in ("train_loss", "val_loss") if key in p)
        for p in chosen
    ]


def draw(runs: list[Json], path: Path) -> None:
    """Every run's losses over its seconds; a star is the scorer's verdict at the end of the process."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for i, run in enumerate(runs):
        color = f"C{i % 10}"
        for key, style in (("train_loss", {"alpha": 0.35, "linewidth": 1.0}), ("val_loss", {"marker": "."})):
            points = [p for p in run["curve"] if key in p]
            axes.plot([p["seconds"] for p in points], [p[key] for p in points], color=color, **style)
        axes.plot(run["wall_seconds"], run["loss"], "*", color=color, markersize=12, label=run["name"])
    lowest = min(run["loss"] for run in runs)
    axes.set(xlabel="seconds since the process began", ylabel="nats a token", ylim=(lowest - 0.15, lowest + 2.0))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
