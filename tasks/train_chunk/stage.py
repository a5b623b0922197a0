"""Train-chunk: one bounded stretch of training in a child process of its own, so that its memory goes back.

The child imports no Prefect. It inherits the writer lock and dies with us; what it had saved is whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

from model.contracts.job import TrainJob, chunk_path
from model.contracts.report import Event, Report
from model.contracts.step_folders import checkpoint_folders
from tasks.contracts.errors import ProcessedDamagedError, TrainingError
from tasks.contracts.paths import PROJECT, Layout
from tasks.storage.atomic_files import write_atomically

__all__ = ["Event", "train_chunk"]


def train_chunk(job: TrainJob, layout: Layout, lock_handle: int, hear: Report) -> Event:
    """Runs the child to its end; `hear` gets each of its events. Returns the last one, `done`.

    Raises:
        ProcessedDamagedError: what it read of the token files is not what was written.
        TrainingError: it failed otherwise; the message is the child's own.
    """
    newest = _newest_step(layout)
    path = layout.state / "train_job.json"
    write_atomically(path, job.to_json().encode())
    child = subprocess.Popen(
        [sys.executable, "-m", "model.train_chunk", str(path)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(lock_handle,),
        # numpy computes only the samples there, and on one core; torch has threads of its own.
        env={"OPENBLAS_NUM_THREADS": "1"} | os.environ | {"MINIATURE_MEMORY_PARENT": str(os.getpid())},
    )
    last: Event = {}
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(child.stderr or ()), daemon=True)
    reader.start()
    try:
        for line in child.stdout or ():
            last = _event(line) or last
            if last.get("event") != "done":
                hear(last)
        status = child.wait()
    except BaseException:
        _stop(child)
        raise
    reader.join(timeout=5)
    if not reader.is_alive() and child.stdout and child.stderr:
        child.stdout.close()
        child.stderr.close()
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt  # Ctrl-C went to both of us, and the child was quicker
    if status != 0 or last.get("event") != "done":
        if status == -signal.SIGKILL and _newest_step(layout) == newest:
            # Out of memory, most likely: with the same recipe it would be killed every night.
            chunk_path(layout.checkpoints).unlink(missing_ok=True)
        if last.get("kind") == "tokens_damaged":
            raise ProcessedDamagedError(str(last["message"]))
        raise TrainingError(_reason(status, last, errors))
    return last


def _newest_step(layout: Layout) -> int:
    return max(checkpoint_folders(layout.checkpoints), default=-1)


def _event(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # a library's own print
    return event if isinstance(event, dict) and "event" in event else None


def _stop(child: subprocess.Popen[str]) -> None:
    """Asks it to save and end; a child that does not is killed, and its last checkpoint counts."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reason(status: int, last: Event, errors: list[str]) -> str:
    if last.get("event") == "error":
        return str(last.get("message"))
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory? lower train.batch_size)" if name == "SIGKILL" else ""
        return f"training was ended by {name}{hint}; the next run goes on from the last checkpoint"
    tail = "".join(errors[-3:]).strip()
    return f"training ended with status {status}; the next run goes on from the last checkpoint. {tail}"
