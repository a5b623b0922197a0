"""Report: the run's record on disk, as JSON for programs and as Markdown for people."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.contracts.paths import Layout
from tasks.contracts.run_record import RunRecord
from tasks.report.night_plots import draw_nights
from tasks.report.stats import model_numbers
from tasks.search.queries import troubles
from tasks.storage.atomic_files import write_atomically, write_json

Publish = Callable[[str], None]


@contextmanager
def write_report(
    record: RunRecord,
    layout: Layout,
    count_documents: Callable[[], dict[str, Any]],
    publish: Publish,
    *,
    picture: bool,
) -> Iterator[None]:
    """Always writes `reports/<run>/report.json` and `report.md`, also after an error.

    Args:
        count_documents: documents by where they ended, asked when the run is over.
        publish: gets the Markdown.
        picture: draw all nights so far into `nights.png`, too, unless the run was interrupted.
    """
    try:
        yield
        record.outcome = "done"
    except BaseException as error:
        stopped = not isinstance(error, Exception)  # Ctrl-C, a cancellation
        record.outcome = "stopped" if stopped else f"failed: {error}"
        raise
    finally:
        folder = layout.reports / record.run_id
        folder.mkdir(parents=True, exist_ok=True)
        values = record.as_dict() | {"documents": count_documents(), "model": model_numbers(layout)}
        record.summary = summary(values)
        write_json(folder / "report.json", values)
        text = as_markdown(values)
        write_atomically(folder / "report.md", text.encode())
        drawn = folder / "nights.png"
        # Someone who cancelled a run waits for its end, not for a picture.
        if picture and record.outcome == "done" and draw_nights(layout, drawn):
            text += "\n" + _inline(drawn)
        publish(text)


def _inline(picture: Path) -> str:
    """Returns a picture inside Markdown, which Prefect's UI can show."""
    return f"![all nights so far](data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()})\n"


def as_markdown(report: dict[str, Any]) -> str:
    """Returns the report as Markdown, for a person."""
    lines = [f"# {report['run']}: {report['outcome']}", "", summary(report), "", "## Stages", ""]
    lines += ["| stage | seconds | peak MB | what happened |", "|---|---:|---:|---|"]
    for name, stage in report["stages"].items():
        counts = ", ".join(f"{reason} {number:,}" for reason, number in stage["counts"].items())
        lines.append(f"| {name} | {stage['seconds']:.1f} | {stage['peak_mb']} | {counts} |")
    lines += _training(report["training"])
    if report["messages"]:
        lines += ["", "## What was said", "", *(f"- {message}" for message in report["messages"])]
    return "\n".join(lines) + "\n"


def summary(report: dict[str, Any]) -> str:
    """Returns the run in one line: what is new, and how the score changed."""
    stages, training = report["stages"], report["training"]
    new = stages.get("collect", {}).get("counts", {}).get("stored", 0)
    dropped = sum(_dropped(stages.get(name, {})) for name in ("clean", "dedup"))
    gone = stages.get("forget", {}).get("counts", {}).get("documents", 0)
    parts = [f"{new} new", f"{dropped} dropped", f"{gone} forgotten" if gone else ""]
    parts += troubles(stages.get("search", {}).get("counts", {}))
    if training:
        parts.append(f"{training['steps_done']} steps to {training['step']}")
        parts.append(_change(training["bits_per_byte_before"], training["bits_per_byte"]))
    return ", ".join(part for part in parts if part) + f" in {report['seconds']:.0f} s"


def _dropped(stage: dict[str, Any]) -> int:
    return sum(number for reason, number in stage.get("counts", {}).items() if reason != "kept")


def _change(before: float | None, after: float | None) -> str:
    if after is None:
        return ""
    return f"{before:.3f} -> {after:.3f} bits/byte" if before is not None else f"{after:.3f} bits/byte"


def _forgetting(training: dict[str, Any]) -> str:
    """Returns how much of the oldest text the model has forgotten since its best score."""
    best = training["oldest_bits_per_byte_best"]
    lost = training["oldest_bits_per_byte"] / best - 1 if best else 0.0
    return f"{lost:.1%} above its best ({best:.3f})" if lost > 0.0005 else "as low as ever"


def _training(training: dict[str, Any]) -> list[str]:
    if not training:
        return []
    lines = ["", "## Training", "", f"- {training['steps_done']} steps, {training['tokens_per_second']:,} tokens/s"]
    if training["bits_per_byte"] is not None:
        change = _change(training["bits_per_byte_before"], training["bits_per_byte"])
        lines.append(f"- held out: {change} (a uniform guess costs {training['uniform_bits_per_byte']:.3f})")
    if (oldest := training.get("oldest_bits_per_byte")) is not None:
        lines.append(f"- held-out text of the first night: {oldest:.3f} bits/byte, {_forgetting(training)}")
    if training.get("anchor_version"):
        lines.append(
            f"- anchor set (version {training['anchor_version']}, {training['anchor_tokens']:,} tokens): "
            f"{_change(training['anchor_bits_per_byte_before'], training['anchor_bits_per_byte'])}"
        )
    lines.append(f"- {'published' if training['published'] else 'kept'}: {training['published_path']}")
    for sample in training["samples"]:
        lines += ["", "A sample:", "", *(f"    {line}" for line in sample["text"].splitlines())]
    return lines
