"""A Prefect server for the length of one night, where none is configured.

Prefect has one of its own, but it outlives us after a SIGKILL, dies with us too early on Ctrl-C, and holds our
output open. This one asks the kernel to end it with its parent, and lives in a session of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from flows.prefect_server.configured import TURN, answers
from tasks.contracts.errors import MiniatureMemoryError

START_SECONDS = 120.0
PR_SET_PDEATHSIG = 1
ERROR_LINE = re.compile(r"^[\w.]+(?:Error|Exception): .*$", re.MULTILINE)  # the end of a traceback


@contextmanager
def short_server(log: Path) -> Iterator[Callable[[], None]]:
    """Inside the block Prefect's client uses a server of our own; call the function given to wait until it answers.

    The server ends with this process, after Prefect has sent its last logs. What it says itself goes to `log`. Waiting
    raises MiniatureMemoryError where the server does not start.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server, url, turn = _start(log)
    with temporary_settings({PREFECT_API_URL: url}):
        yield lambda: _wait_for(server, url, turn, log)


@cache
def _start(log: Path) -> tuple[subprocess.Popen[bytes], str, IO[bytes]]:
    """Start it, once in each process. Returns the server's process, its address, and `_take_turn`."""
    from prefect.settings import PREFECT_HOME, get_current_settings

    turn = _take_turn(PREFECT_HOME.value())

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    # What Prefect sets for its own temporary server: no UI, and no work that only a lasting one needs.
    light = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    light |= {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR", "PREFECT_LOGGING_COLORS": "false"}  # to the log
    own = ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING")  # of a lasting server: its address and password
    env = {name: value for name, value in os.environ.items() if name not in own}
    for name in own:
        settings.pop(name, None)
    with open(log, "wb") as words:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_server.ephemeral", str(port), str(os.getpid())],
            cwd=Path(__file__).resolve().parents[2],
            env=env | settings | light,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )
    # At exit, and not before: Prefect sends its last logs and events when the interpreter ends its threads.
    atexit.register(_stop, server)
    return server, f"http://127.0.0.1:{port}/api", turn


def _take_turn(home: Path) -> IO[bytes]:
    """Waits until no other run starts a server on the same database. Closing the file lets the next one start.

    Two servers that make the tables of one new database at once break it. The kernel closes the file when we die.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        turn = open(home / TURN, "ab")  # noqa: SIM115  # closed by `_wait_for`
    except OSError as error:
        raise MiniatureMemoryError(f"PREFECT_HOME must be a folder that can be written ({error}).") from error
    fcntl.flock(turn, fcntl.LOCK_EX)
    return turn


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], url: str, turn: IO[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    try:
        while time.monotonic() < deadline and server.poll() is None:
            if answers(url):
                return
            time.sleep(0.1)
    finally:
        turn.close()
    said = ERROR_LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
    last = said[-1] if said else "it did not say why"
    status = server.poll()
    raise MiniatureMemoryError(f"Prefect's server does not start (status {status}): {last[:300]}. All of it: {log}")


def main(port: int, parent: int) -> None:
    """Run the server, in the child process, until its parent dies."""
    import uvicorn

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        uvicorn.run(
            "prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
