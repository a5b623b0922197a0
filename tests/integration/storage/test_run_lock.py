from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.contracts.errors import LockHeldError
from tasks.storage.run_lock import writer_lock

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from tasks.storage.run_lock import writer_lock
with writer_lock(Path(sys.argv[1]), "grow-and-train") as handle:
    pass_fds = (handle,) if sys.argv[2] == "inherit" else ()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=pass_fds)
    print(child.pid, flush=True)
    time.sleep(60)
"""


def hold(lock: Path, child: str) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock), child], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    with holder.stdout:
        return holder, int(holder.stdout.readline())


def test_the_second_run_is_told_who_has_it(tmp_path: Path) -> None:
    holder, child = hold(tmp_path / "lock", "alone")
    try:
        with pytest.raises(LockHeldError, match=f"grow-and-train, process {holder.pid}") as caught:
            with writer_lock(tmp_path / "lock", "second"):
                raise AssertionError("two writers")
        assert caught.value.exit_status == 75
    finally:
        holder.kill()
        holder.wait()
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("child", ["alone", "inherit"])
def test_a_kill_frees_it_once_the_training_child_is_gone_too(tmp_path: Path, child: str) -> None:
    holder, pid = hold(tmp_path / "lock", child)
    holder.kill()
    holder.wait()
    if child == "inherit":
        with pytest.raises(LockHeldError), writer_lock(tmp_path / "lock", "next"):
            pass
    else:
        with writer_lock(tmp_path / "lock", "next"):
            pass
    os.kill(pid, signal.SIGKILL)
    while child == "inherit":
        try:
            with writer_lock(tmp_path / "lock", "next"):
                return
        except LockHeldError:
            continue  # the kernel is still taking the child down
