"""Real nights: `run.py` as a user calls it, over a real site, in fresh folders, with one Prefect server a session."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tasks.demo_site import DemoSite

PROJECT = Path(__file__).resolve().parents[2]
NIGHT_SECONDS = 240

PROFILE = """
[search]
max_pages = 1200
revisit_listing_hours = 0
allow_loopback = ["{address}"]

[[search.sources]]
provider = "site"
url = "{url}/"
max_depth = 6

[render]
delay_seconds = 0

[train]
n_layer = 2
n_head = 2
n_kv_head = 2
n_embd = 64
block_size = 64
batch_size = 4
steps = 20
dtype = "float32"
compile = "off"
checkpoint_seconds = 0.2
evaluate_tokens = 4000
"""


def profile_of(url: str) -> str:
    """A profile that collects the site at `url`, which is on this machine."""
    return PROFILE.format(url=url, address=url.removeprefix("http://"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_server(prefect_home: Path) -> Iterator[str]:
    """A real server for all nights of the session, so that each need not start its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = os.environ | {
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/health", timeout=1).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        else:
            raise AssertionError("the Prefect server did not start")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@dataclass
class Household:
    """One data directory and the environment to run nights in it."""

    data: Path
    profile: Path
    env: dict[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Begin `run.py` with these arguments, in a session of its own."""
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(self.data), *arguments],
            env=self.env | env,
            cwd=self.profile.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=NIGHT_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def night(self, *arguments: str, **env: str) -> dict[str, Any]:
        """A whole night that must succeed; its record."""
        done = self.run("--profile", str(self.profile), "--json", *arguments, **env)
        assert done.returncode == 0, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        return record

    def stats(self) -> dict[str, Any]:
        done = self.run("stats", "--json")
        assert done.returncode == 0, done.stderr
        values: dict[str, Any] = json.loads(done.stdout)
        return values

    def files(self, *folders: str) -> dict[str, tuple[int, int]]:
        """Size and time of every file below these folders of the data directory."""
        paths = (path for name in folders for path in (self.data / name).rglob("*") if path.is_file())
        return {str(path.relative_to(self.data)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    def kill_when(self, process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
        """SIGKILL the run alone - its children are left to their fate - as soon as the moment has come."""
        deadline = time.monotonic() + NIGHT_SECONDS
        while not moment():
            assert process.poll() is None, f"it ended before the moment came: {process.communicate()[1]}"
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def household(tmp_path: Path, prefect_home: Path, prefect_server: str) -> Iterator[Household]:
    """Fresh folders, the session's server, and nothing left running afterwards."""
    env = os.environ | {
        "HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_API_URL": prefect_server,
        "OMP_NUM_THREADS": "1",
    }
    env.pop("MINIATURE_MEMORY_DATA", None)
    (tmp_path / "home").mkdir()
    home = Household(tmp_path / "data", tmp_path / "profile.toml", env)
    yield home
    for process in home.running:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.communicate()


@pytest.fixture
def site(household: Household) -> Iterator[DemoSite]:
    """The demo site on its first night, with a profile that collects it."""
    with DemoSite(port=0, night=1) as running:
        running.publish(60)
        household.profile.write_text(profile_of(running.url))
        yield running
