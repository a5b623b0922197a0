"""Writes the tables of DEVELOPER_GUIDE.md from the code: `python -m docs.generate`.

A test compares the guide with the code, so that they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from run import make_parser
from tasks.contracts.outcomes import OUTCOMES
from tasks.contracts.settings import Settings, Source

GUIDE = Path(__file__).resolve().parent.parent / "DEVELOPER_GUIDE.md"


def settings_table() -> str:
    lines = ["| setting | default | meaning | allowed |", "|---|---|---|---|"]
    lines += _rows(Settings, "") + _rows(Source, "search.sources[].")
    return "\n".join(lines)


def _rows(kind: Any, prefix: str) -> list[str]:
    types = typing.get_type_hints(kind)
    rows = []
    for one in (one for one in dataclasses.fields(kind) if one.repr):
        if dataclasses.is_dataclass(types[one.name]):
            rows += _rows(types[one.name], f"{prefix}{one.name}.")
            continue
        rows.append(f"| `{prefix}{one.name}` | `{one.default!r}` | {one.metadata['doc']} | {_allowed(one.metadata)} |")
    return rows


def _allowed(metadata: typing.Mapping[str, Any]) -> str:
    if metadata["choices"]:
        return ", ".join(metadata["choices"])
    low, high = metadata["minimum"], metadata["maximum"]
    parts = [f"at least {low:,}" if low is not None else "", f"at most {high:,}" if high is not None else ""]
    return ", ".join(part for part in parts if part)


def outcomes_table() -> str:
    rows = [f"| `{name}` | {one.meaning} | {'yes' if one.retry else ''} |" for name, one in OUTCOMES.items()]
    return "\n".join(["| outcome | meaning | asked again soon |", "|---|---|---|", *rows])


def command_line() -> str:
    return f"```\n{make_parser(width=100).format_help().rstrip()}\n```"


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "outcomes": outcomes_table,
    "command line": command_line,
}


def fill(guide: str) -> str:
    """Returns the guide with each block between two markers written again."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, found, rest = guide.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"{GUIDE.name} must have a block {begin.strip()} ... {end.strip()}")
        guide = before + begin + make() + end + after
    return guide


if __name__ == "__main__":
    GUIDE.write_text(fill(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
