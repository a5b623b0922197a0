"""Processes and all that descends from them: who they are, whether they live, and how they are ended for certain."""

from __future__ import annotations

import os
from contextlib import suppress

import psutil


def identity(process: psutil.Process) -> str:
    """`<id>:<start>`: process ids are used again; the start time tells the two apart."""
    return f"{process.pid}:{process.create_time():.2f}"


def is_alive(text: str) -> bool:
    """Whether the process of that identity still runs."""
    try:
        pid, started = text.split(":")
        process = psutil.Process(int(pid))
        # The time of the boot, which the start is reckoned from, moves a little when the clock is set.
        same: bool = abs(process.create_time() - float(started)) < 2.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.Error):
        return False


def tree_of(pid: int) -> list[psutil.Process]:
    """The process and its descendants; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [*root.children(recursive=True), root]
    except psutil.Error:
        return []


def with_environment(name: str, value: str) -> list[psutil.Process]:
    """This user's processes that were started with a variable: found even when their parents are gone."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and process.environ().get(name) == value:
                found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> int:
    """SIGKILL to each, and wait until they are gone. Gives how many were there to kill."""
    ended = 0
    for process in processes:
        with suppress(psutil.Error):
            process.kill()  # checks that the id was not used again
            ended += 1
    psutil.wait_procs(processes, timeout=5)
    return ended
