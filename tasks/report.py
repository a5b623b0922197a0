"""Report: the run's record on disk, as JSON for programs and as Markdown for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tasks.durable import write_atomically, write_json
from tasks.night import Night
from tasks.stats import published_model

Publish = Callable[[str], None]


@contextmanager
def write_report(night: Night, publish: Publish) -> Iterator[None]:
    """Whatever happens inside, leave `reports/<run>/report.json` and `report.md`; `publish` gets the Markdown."""
    record = night.record
    try:
        yield
        record.outcome = "done"
    except BaseException as error:
        record.outcome = f"failed: {type(error).__name__}: {error}"
        raise
    finally:
        folder = night.layout.reports / record.run_id
        folder.mkdir(parents=True, exist_ok=True)
        values = record.as_dict() | {"documents": night.corpus.counts(), "model": published_model(night.layout)}
        text = as_markdown(values)
        write_json(folder / "report.json", values)
        write_atomically(folder / "report.md", text.encode())
        publish(text)


def as_markdown(report: dict[str, Any]) -> str:
    """What a person reads in the morning."""
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
    """One line: what is new, what it changed."""
    stages, training, documents = report["stages"], report["training"], report["documents"]
    stored = stages.get("collect", {}).get("counts", {}).get("stored", 0)
    parts = [f"{stored} new documents", f"{documents['kept']} kept of {documents['raw']}"]
    if training:
        parts.append(f"{training['steps_done']} steps to step {training['step']}")
        parts.append(_change(training["bits_per_byte_before"], training["bits_per_byte"]))
    return ", ".join(part for part in parts if part) + f" in {report['seconds']:.0f} s"


def _change(before: float | None, after: float | None) -> str:
    if after is None:
        return ""
    return f"{before:.3f} -> {after:.3f} bits/byte" if before is not None else f"{after:.3f} bits/byte"


def _training(training: dict[str, Any]) -> list[str]:
    if not training:
        return []
    lines = ["", "## Training", ""]
    lines.append(f"- {training['steps_done']} steps, {training['tokens_per_second']:,} tokens/s")
    if training["bits_per_byte"] is not None:
        change = _change(training["bits_per_byte_before"], training["bits_per_byte"])
        lines.append(f"- held out: {change} (a uniform guess costs {training['uniform_bits_per_byte']:.3f})")
    lines.append(f"- {'published' if training['published'] else 'kept'}: {training['published_path']}")
    for sample in training["samples"]:
        lines += ["", "A sample:", "", *(f"    {line}" for line in sample["text"].splitlines())]
    return lines
