"""A corpus grown in increments of any size, killed anywhere, by one process or two, equals its rebuild."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.contracts.paths import PROJECT, find_data_directory
from tests.support.corpora import prose
from tests.support.growth import derived_bytes, rebuilt_bytes, settings

NIGHTS = 8
RULE_CHANGES_AT = 5


def increment(data: Path, first: int, count: int, generator: random.Random, min_words: int, kill: bool) -> None:
    """One process that takes in so many documents, ended by SIGKILL at any moment or left to finish."""
    batch, workers = generator.choice([3, 40, 500]), generator.choice([1, 2])
    arguments = [str(value) for value in (data, first, count, batch, workers, min_words)]
    command = [sys.executable, "-m", "tests.support.growth", *arguments]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        if kill:
            time.sleep(generator.uniform(0.0, 1.0))
            process.send_signal(signal.SIGKILL)
    assert process.returncode in ({0, -signal.SIGKILL} if kill else {0})


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_any_way_of_growing_equals_the_rebuild(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    layout = find_data_directory(tmp_path / "data")
    documents = kills = 0
    for night in range(NIGHTS):
        min_words = 50 if night < RULE_CHANGES_AT else 60
        if night % 4 == 1:
            dropped = layout.raw / "by_hand"
            dropped.mkdir(exist_ok=True)
            (dropped / f"note {night}.txt").write_text(prose(10_000 + night))
        count = generator.choice([0, 1, 20, 150, 500])
        while generator.random() < 0.6:
            increment(layout.root, documents, count, generator, min_words, kill=True)
            kills += 1
        increment(layout.root, documents, count, generator, min_words, kill=False)
        documents += count
    assert kills >= NIGHTS / 4
    grown = derived_bytes(layout.root)
    ledger = [json.loads(line) for line in layout.ledger.read_text().splitlines()]
    assert len(ledger) == len({(entry["url"], entry["sha256"]) for entry in ledger}) == documents + 2
    for workers in (1, 2):
        target = tmp_path / f"rebuilt by {workers}"
        assert rebuilt_bytes(layout, target, settings(batch=97, workers=workers, min_words=60)) == grown
