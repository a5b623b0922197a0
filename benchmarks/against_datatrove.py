"""Clean, dedup and tokenize against datatrove: the same documents, rules, MinHash parameters and number of processes.

    python -m benchmarks.against_datatrove --documents FILE.jsonl --python PYTHON --output FILE

FILE.jsonl has a line a document, `{"url": ..., "text": ...}`; `benchmarks.documents` makes one from folders of HTML.
PYTHON is the interpreter of an environment with datatrove, spaCy and `xxhash<4`. Whole processes are timed, ours with
its interpreter, imports, raw files read, verdicts and signatures kept, the tokenizer trained.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.data_stages import store_documents
from benchmarks.result import circumstances, write_result
from benchmarks.texts import read_documents
from tasks.contracts.paths import PROJECT, find_data_directory
from tasks.contracts.run_record import tree_bytes

Json = dict[str, Any]
WORKERS = 2
SAMPLE_SECONDS = 0.2
PR_SET_CHILD_SUBREAPER = 36  # processes whose parent has ended become our children, so that their CPU time is seen


def timed(command: list[str]) -> Json:
    """Wall and CPU seconds and peak memory (PSS of all its processes) of a command."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    own, peak, done = tree_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, tree_bytes() - own)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    start = time.perf_counter()
    output = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    with suppress(ChildProcessError):
        while True:
            os.wait()  # datatrove's processes descend from a server that outlives it
    done.set()
    watcher.join()
    if output.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{output.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_mb": round(peak / 1e6)}


def ours(data: Path) -> Json:
    layout = find_data_directory(data)
    for derived in (layout.state, layout.cleaned, layout.processed):
        shutil.rmtree(derived, ignore_errors=True)
    return timed([sys.executable, "-m", "benchmarks.data_stages", str(data), "--workers", str(WORKERS)])


def theirs(python: str, documents: Path, tokenizer: Path, folder: Path) -> Json:
    shutil.rmtree(folder, ignore_errors=True)
    pipeline = PROJECT / "benchmarks" / "datatrove_pipeline.py"
    return timed([python, str(pipeline), str(documents), str(tokenizer), str(folder), str(WORKERS)])


def store_all(documents: Path, folder: Path, shards: Path) -> int:
    """The raw documents for both: files and ledger for ours, one JSON Lines file a process for theirs."""
    every = list(read_documents(documents))
    store_documents(folder, every)
    shards.mkdir()
    for shard in range(WORKERS):
        lines = (json.dumps({"text": one.text, "id": one.url}) + "\n" for one in every[shard::WORKERS])
        (shards / f"{shard}.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(every)


def compare(documents: Path, python: str, rounds: int, folder: Path) -> Json:
    data, shards = folder / "data", folder / "shards"
    number = store_all(documents, data, shards)
    runs: dict[str, list[Json]] = {"ours": [], "datatrove": []}
    for _ in range(rounds):
        runs["ours"].append(ours(data))
        runs["datatrove"].append(theirs(python, shards, data / "raw" / "tokenizer.json", folder / "datatrove"))
        print(runs["ours"][-1], runs["datatrove"][-1], file=sys.stderr, flush=True)

    def median(name: str, figure: str) -> float:
        return statistics.median(float(run[figure]) for run in runs[name])

    ratios = {figure: round(median("datatrove", figure) / median("ours", figure), 2) for figure in runs["ours"][0]}
    return {
        "documents": number,
        "megabytes": round(sum(len(one.text.encode()) for one in read_documents(documents)) / 1e6, 1),
        "runs": runs,
        "datatrove_over_ours": ratios,
        "bounds": {"wall_s": 3, "cpu_s": 4, "peak_mb": 1},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_datatrove")
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = circumstances("python -m benchmarks.against_datatrove", ("numpy", "ftfy", "xxhash", "tiktoken"))
    asked = "import importlib.metadata as m; print(m.version('datatrove'))"
    version = subprocess.run([arguments.python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    result["versions"]["datatrove"] = version
    with tempfile.TemporaryDirectory(prefix="against_datatrove-") as folder:
        figures = compare(arguments.documents, arguments.python, arguments.rounds, Path(folder))
    write_result(result | figures, arguments.output)


if __name__ == "__main__":
    main()
