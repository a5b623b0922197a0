"""The data stages of one night, called plainly, in a process of their own: what they cost and where.

    python -m benchmarks.data_stages DATA [--workers N]    prints JSON

Seconds are counted from after the imports, CPU of all processes; memory is the peak of the largest process and of all.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tasks.clean.stage import clean
from tasks.contracts.paths import PROJECT, find_data_directory
from tasks.contracts.records import Document, Dropped
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import CleanSettings, Settings
from tasks.dedup.stage import dedup
from tasks.forget.recovery import ForgettingRecovery
from tasks.raw.validate import validate
from tasks.run_context import RunContext, open_run
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed, tokenize
from tasks.tokenize.tokenizer_record import prepare_tokenizer

Json = dict[str, Any]
Result = TypeVar("Result")
STORED_AT_ONCE = 1000


def in_a_process(data: Path, workers: int = 0) -> Json:
    """The figures of one night on what is new there."""
    command = [sys.executable, "-m", "benchmarks.data_stages", str(data), "--workers", str(workers)]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    figures: Json = json.loads(done.stdout)
    return figures


def derived_again(data: Path, workers: int) -> Json:
    """The figures of deriving everything from `raw/`."""
    layout = find_data_directory(data)
    for folder in (layout.state, layout.cleaned, layout.processed):
        shutil.rmtree(folder, ignore_errors=True)
    return in_a_process(data, workers)


def store_documents(data: Path, documents: Sequence[Document]) -> None:
    """Raw files and ledger lines."""
    with open_run(Settings(), find_data_directory(data), "benchmark", Silent(), ForgettingRecovery()) as night:
        ledger = night.catalog.ledger()
        for first in range(0, len(documents), STORED_AT_ONCE):
            ledger.append(list(documents[first : first + STORED_AT_ONCE]), 0.02)


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Clock:
    """Wall and CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def time(self, stage: str, work: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = work()
        self.seconds[stage] += time.perf_counter() - start
        return result


def run_stages(night: RunContext, clock: Clock) -> Json:
    """validate -> clean -> dedup -> tokenize on what is new, as the flow does; counts."""
    derivation, settings, layout = night.derivation, night.settings, night.layout
    catalog = derivation.catalog
    derivation.prefetch()
    documents = catalog.unchecked()
    clock.time("validate", lambda: validate(documents, layout.raw))
    if documents:
        catalog.set_position("validated", documents[-1]["seq"] + 1)
    derivation.apply_rules()
    counts: Json = {"documents": 0, "kept": 0, "bytes": 0}
    while batch := clock.time("clean", derivation.next_batch):
        cleaned = clock.time("clean", partial(clean, batch, settings.clean, derivation.site_lines))
        commit, compare = partial(derivation.commit, batch), partial(dedup, cleaned, derivation.index)
        verdicts = clock.time("dedup", partial(compare, settings.dedup.min_jaccard, derivation.pool, commit))
        counts["documents"] += len(verdicts)
        counts["kept"] += sum(not isinstance(verdict, Dropped) for verdict in verdicts)
    clock.time("train the tokenizer", lambda: prepare_tokenizer(layout, catalog, settings.tokenize))
    manifest = open_processed(layout, derivation.rules, catalog.digest_of_forgotten())
    if manifest is not None:
        encoder = clock.time("open the tokenizer", lambda: Encoder(layout.tokenizer))
        while texts := clock.time("tokenize", partial(derivation.next_kept, manifest.next_seq)):
            append = partial(token_files.append, layout, manifest, texts)
            manifest = clock.time("tokenize", partial(tokenize, texts, encoder, append))
    counts["bytes"] = sum(row["bytes"] for row in documents)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    settings = Settings(clean=CleanSettings(workers=arguments.workers))
    clock = Clock()
    cpu, wall = cpu_seconds(), time.perf_counter()
    with open_run(settings, find_data_directory(arguments.data), "benchmark", Silent(), ForgettingRecovery()) as night:
        counts = run_stages(night, clock)
        peak = max((stage.peak_bytes for stage in night.record.stages.values()), default=0)
    figures = {
        **counts,
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(cpu_seconds() - cpu, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "peak_with_children_mb": round(peak / 1e6, 1),
        "stages_s": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
