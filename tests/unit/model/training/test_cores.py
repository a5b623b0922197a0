"""A training process takes no more threads than it may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.training import cores


def a_group(folder: Path, membership: str, files: dict[str, str]) -> float:
    """What is found where /proc/self/cgroup and files below /sys/fs/cgroup say this."""
    (folder / "membership").write_text(membership)
    for name, text in files.items():
        path = folder / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cores.quota(folder / "membership", folder / "mounted")


@pytest.mark.parametrize(
    ("membership", "files", "processors"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/elsewhere\n", {"cpu.max": "50000 100000\n"}, 0.5),  # a container, which sees only its own
        ("0::/\n4:cpu,cpuacct:/a\n", {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
                                      "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, 3),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, cores.MANY),
        ("0::/a\n", {"a/cpu.max": "nonsense"}, cores.MANY),
        ("", {}, cores.MANY),
    ],
)  # fmt: skip
def test_a_quota_of_a_control_group_counts(
    tmp_path: Path, membership: str, files: dict[str, str], processors: float
) -> None:
    assert a_group(tmp_path, membership, files) == processors


@pytest.mark.parametrize(
    ("mask", "quota", "wished", "threads"),
    [(4, cores.MANY, "", 4), (4, 2.9, "", 2), (4, 0.5, "", 1), (4, 3, "2", 2), (1, 3, "8", 1), (4, 3, "2,1", 2),
     (4, cores.MANY, "many", 4), (4, cores.MANY, "0", 1)],
)  # fmt: skip
def test_the_least_of_mask_quota_and_wish(
    monkeypatch: pytest.MonkeyPatch, mask: int, quota: float, wished: str, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(mask)))
    monkeypatch.setattr(cores, "quota", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", wished)
    assert cores.usable_cores() == threads
