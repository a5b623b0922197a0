"""A Prefect server for the length of one night, where none is configured.

Prefect has one of its own, but it outlives us after a SIGKILL, dies with us too early on Ctrl-C, and holds our
output open. This one asks the kernel to end it with its parent, and lives in a session of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from flows.prefect_server.configured import answers
from tasks.contracts.errors import MiniatureMemoryError

START_SECONDS = 120.0
PR_SET_PDEATHSIG = 1


@contextmanager
def short_server() -> Iterator[Callable[[], None]]:
    """Inside the block Prefect's client uses a server of our own; call the function given to wait until it answers.

    The server ends with this process, after Prefect has sent its last logs. Waiting raises MiniatureMemoryError where
    the server does not start.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    server, url = _start()
    with temporary_settings({PREFECT_API_URL: url}):
        yield lambda: _wait_for(server, url)


@cache
def _start() -> tuple[subprocess.Popen[bytes], str]:
    """Start it, once in each process. Returns the server's process and its address."""
    from prefect.settings import get_current_settings

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    settings.pop("PREFECT_API_URL", None)
    # What Prefect sets for its own temporary server: no UI, and no work that only a lasting one needs.
    light = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.prefect_server.ephemeral", str(port), str(os.getpid())],
        cwd=Path(__file__).resolve().parents[2],
        env=env | settings | light,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # At exit, and not before: Prefect sends its last logs and events when the interpreter ends its threads.
    atexit.register(_stop, server)
    return server, f"http://127.0.0.1:{port}/api"


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if answers(url):
            return
        time.sleep(0.1)
    raise MiniatureMemoryError(
        f"Prefect's server does not start (status {server.poll()}). `prefect server start` says why; "
        "PREFECT_HOME must be a folder that can be written."
    )


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
