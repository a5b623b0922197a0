"""Data directories that several golden tests read: each made once, by the commands that a user gives."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.golden.support import PROJECT, House, Json
from tests.golden.texts import write_corpus

# Every setting of clean, dedup and train, each at a value that is not its default. Whole numbers stand where a float is
# expected, too: what they become is part of the digests.
OWN: dict[str, dict[str, object]] = {
    "clean": {
        "min_words": 30,
        "max_words": 5000,
        "min_mean_word_length": 0.5,
        "max_mean_word_length": 11,
        "max_symbol_ratio": 0.15,
        "min_alphabetic_ratio": 0.6,
        "max_repeated_line_ratio": 0.45,
        "max_ellipsis_line_ratio": 0.25,
        "max_bullet_line_ratio": 0.8,
        "max_short_line_ratio": 0.9,
        "min_stopped_line_ratio": 0.05,
        "refuse_lorem_ipsum": False,
        "languages": ["en", "zh"],
        "min_language_score": 0.2,
        "batch": 7,
        "workers": 1,
    },
    "dedup": {"min_jaccard": 1},
    "train": {
        "n_layer": 2,
        "n_head": 2,
        "n_kv_head": 1,
        "n_embd": 32,
        "block_size": 32,
        "batch_size": 4,
        "new_share": 0.3,
        "steps": 60,
        "minutes": 30,
        "muon_learning_rate": 0.01,
        "adamw_learning_rate": 0.003,
        "weight_decay": 0,
        "warmup_steps": 3,
        "hold_steps": 5,
        "average_shares": [0.1, 1],
        "decay_fraction": 0.25,
        "checkpoint_seconds": 600,
        "evaluate_tokens": 4000,
        "dtype": "float32",
        "compile": "off",
        "threads": 1,
        "seed": 7,
        "prompts": ["River", "Stone"],
    },
    "tokenize": {"vocab_size": 400, "freeze_bytes": 20000, "validation_fraction": 0.2, "batch": 3},
}


@pytest.fixture(scope="package", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of their own, no Prefect server, terminals of one width. Gives the home."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PREFECT_HOME", str(home / "prefect"))
        patch.setenv("PREFECT_API_URL", "")
        patch.setenv("COLUMNS", "100")
        for name in ("MINIATURE_MEMORY_DATA", "BRAVE_API_KEY", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
            patch.delenv(name, raising=False)
        yield home


def as_toml(sections: dict[str, dict[str, object]]) -> str:
    """Sections of plain values: as TOML they are written as in JSON."""
    return "".join(
        f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        for section, values in sections.items()
    )


def _grown(folder: Path, name: str, profile: str) -> House:
    """The corpus, added, validated, cleaned and prepared."""
    house = House(folder / "data", folder / f"{name}.toml")
    house.profile.write_text(profile)
    house.run("add", write_corpus(folder / "texts"))
    for step in ("validate", "clean", "prepare"):
        house.run(step)
    return house


@pytest.fixture(scope="package")
def default(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The corpus under the defaults."""
    return _grown(tmp_path_factory.mktemp("default"), "default", "")


@pytest.fixture(scope="package")
def own(tmp_path_factory: pytest.TempPathFactory) -> House:
    """The corpus under settings of its own."""
    return _grown(tmp_path_factory.mktemp("own"), "own", as_toml(OWN))


@pytest.fixture(scope="package", params=["default", "own"])
def house(request: pytest.FixtureRequest) -> House:
    """One after the other."""
    found: House = request.getfixturevalue(request.param)
    return found


@dataclass(frozen=True)
class Trained:
    """What two chunks of training left, and the record of the first while it was under way."""

    house: House
    chunk: Json


@pytest.fixture(scope="package")
def trained(own: House) -> Trained:
    arguments = ["--data-dir", str(own.data), "--profile", str(own.profile), "train"]
    process = subprocess.Popen([sys.executable, "run.py", *arguments], cwd=PROJECT, stdout=subprocess.DEVNULL)
    path, chunk = own.data / "checkpoints" / "chunk.json", None
    while process.poll() is None:
        if chunk is None and path.exists():
            chunk = json.loads(path.read_text())
        time.sleep(0.002)
    assert process.returncode == 0 and chunk is not None
    own.run("train", "--steps", "4")
    return Trained(own, chunk)
