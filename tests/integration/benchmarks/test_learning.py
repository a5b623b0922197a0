"""The benchmark of learning, kept alive: ours on a few tokens, and nanoGPT's log read."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning import budget, missing
from benchmarks.learning_curves import curve_lines, draw, nanogpt_point, thinned
from benchmarks.learning_data import open_data
from benchmarks.learning_recipe import choose_recipe

LOG = """number of parameters: 0.80M
step 0: train loss 4.1676, val loss 4.1649
iter 0: loss 4.1828, time 2213.30ms, mfu -100.00%
iter 1: loss 4.1373, time 30.04ms, mfu -100.00%
step 250: train loss 2.5, val loss 2.6
saving checkpoint to out
"""


def prepared(folder: Path) -> Path:
    """Characters in nanoGPT's format, of this file's own text."""
    text = Path(__file__).read_text() * 3
    characters = sorted(set(text))
    ids = np.array([characters.index(one) for one in text], dtype="<u2")
    folder.mkdir()
    ids[:-2000].tofile(folder / "train.bin")
    ids[-2000:].tofile(folder / "val.bin")
    meta = {"vocab_size": len(characters), "itos": dict(enumerate(characters)), "stoi": {}}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return folder


def python(*command: str) -> dict[str, object]:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": "/nonexistent"}  # no compilation
    full = [sys.executable, "-m", *command]
    ended = subprocess.run(full, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    record: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return record


@pytest.mark.long
def test_a_run_learns_and_the_scorer_agrees(tmp_path: Path) -> None:
    data, output = prepared(tmp_path / "data"), tmp_path / "run"
    short = ("--steps", "12", "--set", "n_layer=1", "n_embd=64", "block_size=64")
    run = python("benchmarks.learning_run", "--data", str(data), "--seconds", "20", "--output", str(output), *short)
    found = python("benchmarks.learning_score", "--data", str(data), "--checkpoint", str(output), "--block-sizes", "0")
    score = found["by_block_size"]["64"]  # type: ignore[index]
    assert score["tokens"] == score["bytes"] == 1999  # ASCII
    assert score["nats_per_token"] == pytest.approx(run["val_loss"], abs=0.02)
    assert score["nats_per_token"] < np.log(open_data(data).vocab_size)


def test_log_lines_become_a_curve(tmp_path: Path) -> None:
    points = [nanogpt_point(line, float(i)) for i, line in enumerate(LOG.splitlines())]
    curve = thinned([point for point in points if point], 60.0)
    assert [point.get("val_loss") for point in curve] == [4.1649, None, 2.6]
    assert len(curve_lines("nanogpt", curve * 20)) == 12
    draw([{"name": "nanogpt", "curve": curve, "wall_seconds": 5.0, "loss": 2.5}], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_more_time_never_chooses_a_smaller_network() -> None:
    sizes = [choose_recipe(s, 65, 10**6, 1.3e12).parameters(65) for s in (5.0, 20.0, 60.0, 300.0, 900.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_little_text_is_read_often_enough_by_a_larger_network() -> None:
    small, large = (choose_recipe(60.0, 65, tokens, 1.3e12).parameters(65) for tokens in (10**9, 10**5))
    assert small < large


def test_what_is_given_on_the_command_line() -> None:
    assert budget("60", 68.0) == 60
    assert budget("0.25T", 68.0) == 17
    with pytest.raises(ValueError, match="share of nanoGPT's time"):
        budget("fast", 68.0)
    assert missing("device = 'cuda'\nbatch_size = 4\n") == ["--compile=False"]


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data")
    (data / "meta.pkl").write_bytes(pickle.dumps(Path("x")))
    with pytest.raises(pickle.UnpicklingError, match="not nanoGPT's"):
        open_data(data)
