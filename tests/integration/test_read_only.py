"""Commands that only read, on a data directory that cannot be written: another user's, or a read-only mount."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from model.data.tokenizer import load_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_export import publish
from tasks.contracts.paths import PROJECT, Layout, find_data_directory
from tasks.contracts.run_record import Silent
from tasks.forget.recovery import ForgettingRecovery
from tasks.run_context import open_run
from tasks.storage.run_lock import writer_lock
from tasks.storage.state_db import open_state
from tests.support.corpora import document
from tests.support.growth import grow, settings

URL = document(1).url
READ_ONLY = ("as another user", "as a mount")
# Not root, and not the owner, but one who finds the interpreter wherever root has it.
CAPABILITY = "-all,+dac_read_search"
OTHER_USER = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *(f"--inh-caps={CAPABILITY}", f"--ambient-caps={CAPABILITY}"),
)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with documents, a report, and an untrained model."""
    layout = find_data_directory(tmp_path_factory.mktemp("grown"))
    grow(layout, [document(seed) for seed in range(1, 30)], settings())
    torch.manual_seed(0)
    config = GPTConfig(load_tokenizer(layout.tokenizer).get_vocab_size(), 64, 1, 2, 2, 32, 16, 32)
    publish(layout.models, 1, config, dict(GPT(config).state_dict()), layout.tokenizer, {})
    (layout.reports / "20261129-1").mkdir()
    for name in ("report.json", "report.md"):
        (layout.reports / "20261129-1" / name).write_text("{}")
    with open_run(settings(), layout, "a night", Silent(), ForgettingRecovery()):
        pass  # it makes the tables of the other stages
    return layout.root


@pytest.fixture
def data(grown: Path) -> Iterator[Path]:
    """A copy, in a folder that others may enter; beside it, one where they may write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        shutil.copytree(grown, folder / "data", symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(folder / "data")], check=True)
        (folder / "exports").mkdir()
        (folder / "exports").chmod(0o777)
        yield folder / "data"
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def run(how: str, data: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, str(PROJECT / "run.py"), "--data-dir", str(data), *arguments]
    if how == "as a mount":
        if os.geteuid() != 0:
            pytest.skip("only root can mount")
        mount = f"mount --bind {data} {data} && mount -o remount,ro,bind {data} && exec {shlex.join(command)}"
        command = ["unshare", "--mount", "sh", "-c", mount]
    elif os.geteuid() == 0:
        command = [*OTHER_USER, *command]
    else:
        subprocess.run(["chmod", "-R", "a-w", str(data)], check=True)
    done = subprocess.run(command, cwd=data.parent, capture_output=True, text=True, timeout=120, check=False)
    if done.stderr.startswith(("unshare:", "mount:", "setpriv:")):  # a container without these rights
        pytest.skip(done.stderr)
    return done.returncode, done.stdout, done.stderr


COMMANDS = {
    "documents  29 raw": ("stats",),
    "stored      as document": ("trace", URL),
    "all is as it was written": ("verify",),
    "The": ("sample", "--tokens", "5"),
    "{}": ("report",),
    "documents to": ("export", "dataset", "--to", "exports/kept.parquet"),
    "exports/model.gguf": ("export", "gguf", "--to", "exports/model.gguf"),
    "exports/hf": ("export", "hf", "--to", "exports/hf"),
}


@pytest.mark.parametrize("how", READ_ONLY)
def test_what_only_reads_works(data: Path, how: str) -> None:
    before = sorted(data.rglob("*"))
    for expected, arguments in COMMANDS.items():
        status, out, err = run(how, data, *arguments)
        assert (status, err) == (0, "") and expected in out, (arguments, out, err)
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("how", READ_ONLY)
def test_what_a_killed_run_left_in_the_log_of_the_database_is_seen(data: Path, how: str) -> None:
    layout = Layout(data)
    with closing(open_state(layout.database)) as db:
        db.execute("UPDATE documents SET outcome = 'seen_in_the_log' WHERE seq = 3")
        shutil.copytree(layout.state, data.parent / "killed")
    shutil.rmtree(layout.state)
    (data.parent / "killed").rename(layout.state)
    assert layout.database.with_name("state.sqlite-wal").stat().st_size > 0
    status, out, err = run(how, data, "stats")
    assert (status, err) == (0, "") and "seen_in_the_log" in out


def test_what_writes_says_so_in_a_line(data: Path) -> None:
    status, _, err = run("as another user", data, "clean")
    assert status == 1 and err.startswith(f"error: the data directory {data} is not writable.") and err.count("\n") == 1


def test_a_night_of_the_owner_keeps_verify_out(data: Path) -> None:
    with writer_lock(Layout(data).lock, "grow-and-train"):
        status, _, err = run("as another user", data, "verify")
    assert status == 75 and "another run (grow-and-train" in err


def test_a_database_that_is_not_there_or_of_another_version_is_said_in_a_line(data: Path) -> None:
    database = Layout(data).database
    with closing(open_state(database)) as db:
        db.execute("DROP TABLE readings")
    status, _, err = run("as another user", data, "stats")
    assert status == 1 and "is of an earlier version, and cannot be written here" in err and err.count("\n") == 1
    database.unlink()
    status, _, err = run("as another user", data, "stats")
    assert status == 1 and f"{database} is missing" in err and err.count("\n") == 1
