"""`run.py` without a home, without a name for the user, without standard streams, stopped while it imports."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import run
from tasks.contracts.paths import PROJECT
from tests.integration.test_read_only import CAPABILITY
from tests.support.corpora import document

NOBODY_KNOWS = 54321  # as a container has it: a number without a line in /etc/passwd
WITHOUT_NAME = (
    *("setpriv", f"--reuid={NOBODY_KNOWS}", f"--regid={NOBODY_KNOWS}", "--clear-groups"),
    *(f"--inh-caps={CAPABILITY}", f"--ambient-caps={CAPABILITY}"),
)
PROFILE = """
[train]
n_layer = 1
n_head = 2
n_kv_head = 2
n_embd = 32
block_size = 32
batch_size = 4
steps = 5
compile = "off"
evaluate_tokens = 1000
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for everybody, with texts of one's own and a profile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "texts").mkdir()
        for seed in range(12):
            (folder / "texts" / f"{seed}.txt").write_text(document(seed).text)
        (folder / "profile.toml").write_text(PROFILE)
        folder.chmod(0o777)
        yield folder
        subprocess.run(["chmod", "-R", "u+rwX", str(folder)], check=True)


NAMED = ("HOME", "USER", "LOGNAME", "PREFECT_HOME")  # what says who the user is, and where their files are


def start(folder: Path, *arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name not in NAMED}
    command = [*prefix, sys.executable, str(PROJECT / "run.py"), "--data-dir", str(folder / "data")]
    return subprocess.Popen(
        [*command, "--profile", str(folder / "profile.toml"), *arguments],
        env=env | {"PREFECT_API_URL": ""} | variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def night(folder: Path, prefix: tuple[str, ...], **variables: str) -> None:
    """Texts of one's own, a night with a Prefect server for it alone, a sample."""
    for arguments in (("add", str(folder / "texts")), ("--skip-collection",), ("sample", "--tokens", "3")):
        process = start(folder, *arguments, prefix=prefix, **variables)
        _, err = process.communicate(timeout=200)
        if err.startswith("setpriv:"):  # a container without these rights
            pytest.skip(err)
        assert process.returncode == 0, err
    assert (folder / "data" / "models" / "latest").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("home", [{}, pytest.param({"HOME": "/"}, marks=pytest.mark.long)])
def test_a_user_without_a_home_and_without_a_name(folder: Path, home: dict[str, str]) -> None:
    night(folder, WITHOUT_NAME, **home)
    assert (folder / "data" / "state" / "home" / ".prefect").is_dir()
    assert (folder / "data" / "raw" / "ledger.jsonl").stat().st_uid == NOBODY_KNOWS


def test_standard_streams_that_are_closed_and_files_for_oneself_alone(folder: Path) -> None:
    closed = ("sh", "-c", 'umask 077; exec "$@" <&- >&- 2>&-', "sh")
    night(folder, closed, HOME=str(folder))
    files = [path for path in (folder / "data").rglob("*") if path.is_file()]
    assert files and not [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o002]


def test_an_interrupt_that_a_library_makes_an_error_of_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Incident: pydantic, while Prefect is imported, made a PydanticSerializationError of Ctrl-C."""

    def serialize(options: object) -> None:
        try:
            run._interrupt()
        except KeyboardInterrupt as stop:
            raise ValueError(f"Error calling function `_ser_model`: {type(stop).__name__}") from None

    monkeypatch.setattr(run, "asked_to_stop", [])
    monkeypatch.setattr(run, "run_stats", serialize)
    assert run.main(["stats"]) == 130
    monkeypatch.setattr(run, "asked_to_stop", [])
    monkeypatch.setattr(run, "run_stats", lambda options: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        run.main(["stats"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_for_the_end_of_an_import(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("run.asked_to_stop", [])
    handlers = signal.signal(signal.SIGINT, run._interrupt), signal.signal(signal.SIGTERM, run._terminate)
    imported = False
    try:
        with pytest.raises(KeyboardInterrupt), run.stop_held_back():
            os.kill(os.getpid(), number)
            imported = True
    finally:
        signal.signal(signal.SIGINT, handlers[0]), signal.signal(signal.SIGTERM, handlers[1])
    assert imported and len(run.asked_to_stop) == 1


# Seconds after the start: the imports, the server's start, the steps, training.
@pytest.mark.parametrize("seconds", [2.0, *(pytest.param(s, marks=pytest.mark.long) for s in (0.3, 1.0, 4.0, 7.0))])
def test_ctrl_c_at_any_time_is_one_line_and_the_next_run_goes_on(folder: Path, seconds: float) -> None:
    add = start(folder, "add", str(folder / "texts"), HOME=str(folder))
    assert add.communicate(timeout=100) and add.returncode == 0
    process = start(folder, "--skip-collection", "--steps", "5000", HOME=str(folder))
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert err.splitlines()[-1] == "stopped; the next run goes on from here"
    for arguments in (("clean",), ("prepare",), ("train", "--steps", "5"), ("verify",)):
        process = start(folder, *arguments, HOME=str(folder))
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
