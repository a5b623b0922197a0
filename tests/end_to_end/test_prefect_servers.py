"""Prefect servers as they are found: none, another program, locked, dying, and several nights that start their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.end_to_end.conftest import Household, free_port
from tests.end_to_end.test_bad_input import one_line
from tests.support.loopback import Loopback, article

PROFILE = """
[train]
n_layer = 2
n_head = 2
n_kv_head = 2
n_embd = 64
block_size = 64
batch_size = 4
steps = {steps}
dtype = "float32"
compile = "off"
evaluate_tokens = 4000
"""
NO_TRAINING = ("--skip-training", "--json")


@pytest.fixture
def diary(household: Household, tmp_path: Path) -> Household:
    """A household with texts of its own and no sources."""
    (tmp_path / "diary").mkdir()
    for number in range(12):
        (tmp_path / "diary" / f"{number}.html").write_bytes(article(f"Day {number}", paragraphs=6 + number))
    household.profile.write_text(PROFILE.format(steps=20))
    assert household.run("add", str(tmp_path / "diary")).returncode == 0
    return household


@pytest.fixture
def locked_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Prefect server that wants a password, and nobody else's."""
    port = free_port()
    env = os.environ | {
        "PREFECT_HOME": str(tmp_path / "locked"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_AUTH_STRING": "me:secret",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while not _is_up(env["PREFECT_API_URL"]):
        assert time.monotonic() < deadline and server.poll() is None
        time.sleep(0.3)
    yield env["PREFECT_API_URL"], server
    _kill(server)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _kill(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        for child in psutil.Process(server.pid).children(recursive=True):
            child.kill()
        server.kill()
    server.wait()


def test_what_answers_200_is_not_prefect_yet(diary: Household, tmp_path: Path) -> None:
    own = {"PREFECT_HOME": str(tmp_path / "own")}
    with Loopback() as other:
        other.answer = _say  # type: ignore[method-assign]
        done = diary.run("--profile", str(diary.profile), *NO_TRAINING, PREFECT_API_URL=f"{other.url}/api", **own)
    assert done.returncode == 0 and json.loads(done.stdout)["outcome"] == "done"
    assert done.stderr.count("is no Prefect server") == 1 and "goes on without it" in done.stderr


def _say(handler: object) -> None:
    from tests.support.loopback import send

    send(handler, 200, {}, b"<html>It works!</html>")  # type: ignore[arg-type]


def test_a_server_that_wants_a_password_and_one_that_dies(
    diary: Household, locked_server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    url, server = locked_server
    night = ("--profile", str(diary.profile), "--json")
    env = {"PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "own")}
    done = diary.run(*night, "--skip-training", **env)
    assert done.returncode == 0 and done.stderr.count("PREFECT_API_AUTH_STRING") == 1, done.stderr
    env["PREFECT_API_AUTH_STRING"] = "me:secret"
    done = diary.run(*night, "--skip-training", **env)
    assert done.returncode == 0 and "without it" not in done.stderr, done.stderr

    diary.profile.write_text(PROFILE.format(steps=400))
    running = diary.start(*night, **env)
    assert running.stderr
    said = ""
    for line in running.stderr:
        said += line
        if "train: " in line:
            break
    _kill(server)
    out, rest = running.communicate(timeout=240)
    said += rest
    assert running.returncode == 0, said
    assert said.count("the run goes on without it") == 1 and "Traceback" not in said and "Error logging" not in said
    assert json.loads(out)["outcome"] == "done" and diary.stats()["model"]["step"] == 400


def test_several_data_directories_on_a_fresh_home(diary: Household, tmp_path: Path) -> None:
    """Each starts a server of its own, on one database that is not there yet."""
    env = {"PREFECT_HOME": str(tmp_path / "fresh"), "PREFECT_API_URL": ""}
    running = []
    for number in range(3):
        diary.data = tmp_path / f"data{number}"
        running.append(diary.start("--profile", str(diary.profile), *NO_TRAINING, **env))
    ended = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], [errors for _, errors in ended]


def test_why_a_server_does_not_start_is_told_in_its_own_words(diary: Household, tmp_path: Path) -> None:
    home = tmp_path / "broken"
    home.mkdir()
    (home / "prefect.db").write_bytes(b"this is no database" * 100)
    done = diary.run("--profile", str(diary.profile), *NO_TRAINING, PREFECT_HOME=str(home), PREFECT_API_URL="")
    log = diary.data / "state" / "prefect_server.log"
    assert done.returncode == 1 and "not a database" in one_line(done.stderr) and str(log) in done.stderr
    assert "Traceback" in log.read_text()
