"""What a terminal shows at the end of a run: short. The tables are in the report."""

from __future__ import annotations

import shlex
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.search.queries import troubles

MOST_REASONS = 4
MOST_SAMPLES = 3
SAMPLE_CHARACTERS = 320
WIDEST = 88
FINE = ("kept", "stored", "unchanged", "reextractable", "listing")
"""Outcomes of what is not refused."""


def as_text(report: dict[str, Any], folder: Path, width: int = WIDEST) -> str:
    """Returns what came, what was refused, how good the model is, three samples, and what to type next.

    Args:
        report: a run's record.
        folder: where its report lies.
        width: of the terminal.
    """
    width, samples = min(width, WIDEST), report["training"].get("samples", [])[:MOST_SAMPLES]
    rows = [("came", _came(report)), ("refused", _refused(report)), ("how good", _how_good(report["training"]))]
    lines = [f"{report['outcome']} in {_time(report['seconds'])}"]
    for name, words in rows:
        if words:
            lines += textwrap.wrap(words, width, initial_indent=f"{name:<10}", subsequent_indent=" " * 10)
    for sample in samples:
        text = textwrap.shorten(sample["text"], SAMPLE_CHARACTERS, placeholder=" ...")
        lines += ["", *textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")]
    lines += ["", f"The tables: {folder / 'report.md'}"]
    if samples:
        command = f".venv/bin/python run.py sample --prompt {shlex.quote(samples[0]['prompt'])} --seed 1"
        lines += ["Next, let it write on:", f"  {command}"]
    return "\n".join(lines) + "\n"


def _counts(report: dict[str, Any], stage: str) -> Counter[str]:
    return Counter(report["stages"].get(stage, {}).get("counts", {}))


def _came(report: dict[str, Any]) -> str:
    collected, kept = _counts(report, "collect"), _counts(report, "dedup")["kept"]
    parts = []
    if collected:
        parts.append(f"{collected.total():,} pages, {collected['stored']:,} with a new text")
    if kept or collected:
        tokens = _counts(report, "tokenize")
        parts.append(f"{kept:,} kept, {tokens['train_tokens'] + tokens['val_tokens']:,} tokens")
    return "; ".join(parts)


def _refused(report: dict[str, Any]) -> str:
    reasons = _counts(report, "collect") + _counts(report, "clean") + _counts(report, "dedup")
    for name in FINE:
        del reasons[name]
    shown = [f"{number:,} {reason}" for reason, number in reasons.most_common(MOST_REASONS)]
    if others := reasons.total() - sum(number for _, number in reasons.most_common(MOST_REASONS)):
        shown.append(f"{others:,} for other reasons")
    return ", ".join(shown + troubles(_counts(report, "search")))


def _how_good(training: dict[str, Any]) -> str:
    score = training.get("bits_per_byte")
    if score is None:
        return ""
    share = f"{score / training['uniform_bits_per_byte']:.0%} of a uniform guess"
    before = training["bits_per_byte_before"]
    change = f" (before: {before:.3f})" if before is not None else ""
    kept = "" if training["published"] else "; the model served before is better, and stays"
    return f"{score:.3f} bits a byte of text it has not seen{change}, {share}, after {training['step']:,} steps{kept}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
