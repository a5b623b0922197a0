"""Reports of earlier runs, without references to what is forgotten and without samples that may repeat it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.forget.matcher import ReferenceMatcher
from tasks.storage.atomic_files import read_json, write_atomically, write_json

SAMPLE = "A sample:"


def scrub_report(folder: Path, matcher: ReferenceMatcher, since: str | None, dry: bool) -> bool:
    """Clear a report's JSON and its Markdown; the pictures show numbers only. Returns whether anything changes."""
    samples, changed = since is not None, False  # without its record, nobody knows when it was written
    record = folder / "report.json"
    before = read_json(record)
    if isinstance(before, dict):
        with suppress(ValueError, KeyError, TypeError):
            ended = datetime.fromisoformat(before["started"]) + timedelta(seconds=before["seconds"])
            samples = since is not None and ended >= datetime.fromisoformat(since)
        after = cut_values(before, matcher)
        if samples and isinstance(training := after.get("training"), dict) and training.get("samples"):
            training["samples"] = []
        changed = after != before
        if changed and not dry:
            write_json(record, after)
    elif record.exists():  # torn: a sample in it cannot be told from the rest
        changed = True
        if not dry:
            record.unlink()
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        cut = cut_markdown(text, matcher, samples)
        changed = changed or cut != text
        if cut != text and not dry:
            write_atomically(path, cut.encode())
    return changed


def cut_values(value: Any, matcher: ReferenceMatcher, samples: bool = False) -> Any:
    """Returns JSON values, of which texts may be Markdown, without references and, where asked, without samples."""
    if isinstance(value, dict):
        return {matcher.cut(name): cut_values(one, matcher, samples) for name, one in value.items()}
    if isinstance(value, list):
        return [cut_values(one, matcher, samples) for one in value]
    return cut_markdown(value, matcher, samples) if isinstance(value, str) else value


def cut_markdown(text: str, matcher: ReferenceMatcher, samples: bool) -> str:
    """Returns a report without references and, where asked, without what the model wrote."""
    return matcher.cut(_without_samples(text) if samples else text)


def _without_samples(text: str) -> str:
    """`tasks.report.report` indents samples by four spaces, below a line that says so."""
    kept, inside = [], False
    for line in text.split("\n"):
        if line == SAMPLE:
            inside = True
            kept.append(f"{SAMPLE} forgotten")
        elif not (inside and line.startswith("    ")):
            inside = inside and not line
            kept.append(line)
    return "\n".join(kept)
