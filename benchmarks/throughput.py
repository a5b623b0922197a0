"""Megabytes of text a second through clean, dedup and tokenize, files written, and where the time goes.

    python -m benchmarks.throughput --documents FILE.jsonl --output benchmarks/results/throughput.json

FILE.jsonl as for `benchmarks.against_datatrove`; of its documents the English ones are taken. Each run derives all
from raw files, in a process of its own, with one process and with two.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data_stages import derived_again, store_documents
from benchmarks.result import circumstances, write_result
from benchmarks.texts import read_documents
from tasks.clean.language import detect_language

Json = dict[str, Any]
BOUND = "6 MB/s with two processes"


def measure(documents: Path, rounds: int, folder: Path) -> Json:
    english = [one for one in read_documents(documents) if detect_language(one.text)[0] == "en"]
    megabytes = sum(len(one.text.encode()) for one in english) / 1e6
    store_documents(folder, english)
    runs: dict[int, list[Json]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, results in runs.items():
            results.append(derived_again(folder, workers))
            print(workers, results[-1], file=sys.stderr, flush=True)
    return {
        "documents": len(english),
        "megabytes": round(megabytes, 1),
        "bound": BOUND,
        "megabytes_a_second": {
            str(workers): round(megabytes / statistics.median(float(run["wall_s"]) for run in results), 2)
            for workers, results in runs.items()
        },
        "runs": {str(workers): results for workers, results in runs.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = circumstances("python -m benchmarks.throughput", ("numpy", "ftfy", "xxhash", "tiktoken"))
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        figures = measure(arguments.documents, arguments.rounds, Path(folder))
    write_result(result | figures, arguments.output)


if __name__ == "__main__":
    main()
