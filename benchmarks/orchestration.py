"""What Prefect costs: a night through server and worker against the same functions called plainly.

    python -m benchmarks.orchestration --output benchmarks/results/orchestration.json

Both sides get fresh folders, caches and the same site. The deployed side - server, worker, flow, Chromium, training -
runs in one memory control group of 2 GB without swap, where this process may make one (cgroup v1 or v2, as root).
Prints JSON. Timings are wall seconds; run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from benchmarks.result import circumstances, write_result
from flows.steps import run_steps
from run import STEPS
from tasks import stages
from tasks.contracts.paths import PROJECT, find_data_directory
from tasks.contracts.profiles import load_settings
from tasks.contracts.run_record import Silent
from tasks.demo_site import DemoSite

Json = dict[str, Any]
Found = TypeVar("Found")

LIMIT_BYTES = 2 * 1024**3
BOUND = "plain * 1.1 + 20 s"
DATABASE_BOUND_MB = 5
NIGHT_SECONDS = 1800.0
SHARES = (60, 80, 100)  # per cent of the site's articles, night by night
PACKAGES = ("prefect", "fastapi", "sqlalchemy", "torch", "numpy", "selenium", "trafilatura", "tokenizers")

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
steps = {steps}
"""


class Side:
    """One way to run nights: its folders and environment."""

    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder, self.profile = folder, profile
        self.data = folder / "data"
        for name in ("home", "tmp"):
            (folder / name).mkdir(parents=True)
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MINIATURE_"))}
        self.env = bare | {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"),
            "MINIATURE_MEMORY_DATA": str(self.data),
            "MINIATURE_MEMORY_PROFILE": str(profile),
            "DO_NOT_TRACK": "1",
        }

    def record(self) -> Json:
        """The last night's own record."""
        newest = max((self.data / "reports").glob("*/report.json"))
        record: Json = json.loads(newest.read_text(encoding="utf-8"))
        return record


def plain_night(profile: str, data: str) -> None:
    """The same steps over the same functions, without Prefect. In a child process."""
    run_steps(load_settings(profile), find_data_directory(data), STEPS, stages, Silent(), lambda markdown: None)


def time_plain(side: Side) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.orchestration", "--plain", str(side.profile), str(side.data)]
    subprocess.run(command, cwd=PROJECT, env=side.env, check=True, stdout=sys.stderr)
    return time.monotonic() - began


class Deployed:
    """Server and worker as the documentation starts them, in a control group of their own."""

    def __init__(self, side: Side, group: Group | None) -> None:
        self.side, self.group = side, group
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.api = f"http://127.0.0.1:{port}/api"
        side.env |= {"PREFECT_API_URL": self.api, "PREFECT_SERVER_API_PORT": str(port)}
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Deployed:
        try:
            self._start("-m", "prefect", "server", "start")
            self._start("-m", "deployments.worker")
            wait_for("the worker", self._is_ready, 180)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, *arguments: str) -> None:
        join = f'echo $$ > "{self.group.folder}/cgroup.procs"; ' if self.group else ""
        # The documented environment, as a terminal would have it.
        command = f'{join}. deployments/environment.sh; exec "{sys.executable}" {" ".join(arguments)}'
        log = open(self.side.folder / "log", "ab")  # noqa: SIM115 - the child's for its life
        self.processes.append(
            subprocess.Popen(
                ["sh", "-c", command],
                cwd=PROJECT,
                env=self.side.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )

    def _is_ready(self) -> bool:
        try:
            workers = self.ask("POST", "/work_pools/miniature-memory/workers/filter", {})
            self.ask("GET", "/deployments/name/grow-and-train/nightly")
        except httpx.HTTPError:
            return False
        return any(worker["status"] == "ONLINE" for worker in workers)

    def ask(self, method: str, path: str, body: Json | None = None) -> Any:
        for _ in range(5):
            answer = httpx.request(method, f"{self.api}{path}", json=body, timeout=30)
            if answer.status_code != 503:  # its database is busy; Prefect's own client asks again, too
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json()

    def night(self) -> Json:
        """From the wish for a night until Prefect says that it is over."""
        before = database_bytes(self.side)
        deployment = self.ask("GET", "/deployments/name/grow-and-train/nightly")["id"]
        began = time.monotonic()
        run = self.ask("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]

        def ended() -> Json | None:
            state: Json = self.ask("GET", f"/flow_runs/{run}")["state"]
            return state if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        state = wait_for("the night", ended, NIGHT_SECONDS)
        seconds = time.monotonic() - began
        if state["type"] != "COMPLETED":
            raise SystemExit(f"the deployed night {state['type']}: {state['message']}")
        time.sleep(15)  # the server writes events behind
        return {
            "seconds": seconds,
            "message": state["message"],
            "task_runs": self.ask("POST", "/task_runs/count", {"flow_runs": {"id": {"any_": [run]}}}),
            "database_mb": round((database_bytes(self.side) - before) / 1e6, 2),
        }

    def resident_mb(self) -> dict[str, int]:
        """Proportional set size of server and worker at rest."""
        shown = zip(("server", "worker"), self.processes, strict=True)
        return {name: round(psutil.Process(one.pid).memory_full_info().pss / 1e6) for name, one in shown}

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(what: str, look: Callable[[], Found | None], seconds: float) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.25)
    return found


def database_bytes(side: Side) -> int:
    """Pages in use of Prefect's SQLite file."""
    path = Path(side.env["HOME"]) / ".prefect" / "prefect.db"
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        pages, free, size = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size
    finally:
        db.close()


class Group:
    """A memory control group: what joins it cannot take more than the limit, and has no swap."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder, self.version = folder, version
        self.peak_bytes = 0  # without the page cache, which the kernel takes back
        self._done = threading.Event()

    def watch(self) -> None:
        while not self._done.wait(0.25):
            with suppress(OSError, KeyError):
                self.peak_bytes = max(self.peak_bytes, self._anonymous())

    def _anonymous(self) -> int:
        stat = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(stat["anon"]) if self.version == 2 else int(stat["total_rss"]) + int(stat["total_shmem"])

    def figures(self) -> Json:
        names = {1: ("memory.max_usage_in_bytes", "memory.oom_control"), 2: ("memory.peak", "memory.events")}
        peak, events = names[self.version]
        values: Json = {"cgroup": self.version, "limit_mb": round(LIMIT_BYTES / 1e6)}
        values["peak_anonymous_mb"] = round(self.peak_bytes / 1e6)
        with suppress(OSError):  # memory.peak is there since Linux 5.19
            values["peak_with_page_cache_mb"] = round(int((self.folder / peak).read_text()) / 1e6)
        lines = dict(line.split() for line in (self.folder / events).read_text().splitlines())
        values["oom_kills"] = int(lines.get("oom_kill", 0))
        return values

    def close(self) -> None:
        self._done.set()
        for _ in range(50):
            try:
                self.folder.rmdir()
                return
            except OSError:
                time.sleep(0.2)


@contextmanager
def memory_group() -> Iterator[Group | None]:
    """None where the kernel or our rights do not let us."""
    name = f"miniature-memory-{os.getpid()}"
    root = Path("/sys/fs/cgroup")
    group: Group | None = None
    try:
        if (root / "cgroup.controllers").exists():
            group = Group(root / name, 2)
            group.folder.mkdir()
            (group.folder / "memory.max").write_text(str(LIMIT_BYTES))
            (group.folder / "memory.swap.max").write_text("0")
        else:
            group = Group(root / "memory" / name, 1)
            group.folder.mkdir()
            (group.folder / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
            with suppress(OSError):  # only there when the kernel accounts swap
                (group.folder / "memory.memsw.limit_in_bytes").write_text(str(LIMIT_BYTES))
            (group.folder / "memory.swappiness").write_text("0")
    except OSError as error:
        print(f"no memory control group ({error}): the figures are without the 2 GB limit", file=sys.stderr)
        if group is not None and group.folder.exists():
            group.folder.rmdir()
        yield None
        return
    threading.Thread(target=group.watch, daemon=True).start()
    try:
        yield group
    finally:
        group.close()


def measure(nights: int, steps: int, folder: Path) -> Json:
    with DemoSite(port=0, night=1) as site, memory_group() as group:
        profile = folder / "site.toml"
        profile.write_text(PROFILE.format(url=site.url, address=site.url.removeprefix("http://"), steps=steps))
        plain, deployed = Side(folder / "plain", profile), Side(folder / "deployed", profile)
        results = []
        with Deployed(deployed, group) as place:
            resident = place.resident_mb()
            for number in range(nights):
                site.publish(SHARES[min(number, len(SHARES) - 1)])
                seconds = time_plain(plain)
                results.append(compare(seconds, plain.record(), place.night(), deployed.record()))
                print(json.dumps(results[-1]), file=sys.stderr)
        memory = group.figures() if group else {"cgroup": None}
    return {"nights": results, "memory": memory | {"at_rest_mb": resident}}


def compare(plain: float, plain_record: Json, deployed: Json, deployed_record: Json) -> Json:
    bound = plain * 1.1 + 20
    return {
        "plain_seconds": round(plain, 1),
        "deployed_seconds": round(deployed["seconds"], 1),
        "of_which_the_night_itself": deployed_record["seconds"],
        "bound_seconds": round(bound, 1),
        "within_bound": deployed["seconds"] <= bound,
        "task_runs": deployed["task_runs"],
        "database_growth_mb": deployed["database_mb"],
        "database_within_bound": deployed["database_mb"] < DATABASE_BOUND_MB,
        "documents": [one["stages"].get("collect", {}).get("counts", {}) for one in (plain_record, deployed_record)],
        "stage_seconds": {
            name: [one["stages"].get(name, {}).get("seconds") for one in (plain_record, deployed_record)]
            for name in deployed_record["stages"]
        },
        "message": deployed["message"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=2, help="nights over a growing site")
    parser.add_argument("--steps", type=int, default=300, help="training steps of a night")
    parser.add_argument("--note", default="", help="a word on the circumstances, for the result")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    parser.add_argument("--plain", nargs=2, metavar=("PROFILE", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.plain:
        plain_night(*options.plain)
        return
    command = f"python -m benchmarks.orchestration --nights {options.nights} --steps {options.steps}"
    head = circumstances(command, PACKAGES) | {
        "note": options.note,
        "bounds": {"deployed_seconds": BOUND, "database_growth_mb": DATABASE_BOUND_MB},
    }
    folder = Path(tempfile.mkdtemp(prefix="orchestration-"))
    try:
        result = head | measure(options.nights, options.steps, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_result(result, options.output)


if __name__ == "__main__":
    main()
