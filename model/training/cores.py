"""How many threads this process may keep busy. A thread too many is worse than one too few: all wait for it."""

from __future__ import annotations

import math
import os
from pathlib import Path

MANY = 1e6
"""Processors: no bound."""


def usable_cores() -> int:
    """Returns the least of what the affinity mask, the control groups' quotas and OMP_NUM_THREADS allow, at least 1."""
    wished = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    limits = [len(os.sched_getaffinity(0)), math.floor(quota())] + ([int(wished)] if wished.isdecimal() else [])
    return max(1, min(limits))


def quota(membership: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns the processors that Linux gives this process's control group and those around it, or MANY.

    Of both versions of control groups. In a container the group's own path may not be there, and the top is its own.
    """
    try:
        groups = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return MANY
    found = MANY
    for _, controllers, path in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mounted / controllers if controllers else mounted
        inner = top / path.strip().lstrip("/")
        for folder in [top, inner, *(parent for parent in inner.parents if top in parent.parents)]:
            found = min(found, _of_version_2(folder) if not controllers else _of_version_1(folder))
    return found


def _of_version_2(folder: Path) -> float:
    try:
        most, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return MANY if most == "max" else int(most) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return MANY


def _of_version_1(folder: Path) -> float:
    try:
        most, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period")
        )
        return most / period if most > 0 else MANY
    except (OSError, ValueError, ZeroDivisionError):
        return MANY
