"""What is learned in so many seconds of a whole process: ours and nanoGPT on the same tokens, one scorer for both.

    python -m benchmarks.learning --nanogpt DIR --data DIR --seconds 0.25T 0.5T 2T 2.7T \
        --output benchmarks/results/learning.json

--nanogpt is nanoGPT's repository, fetched outside the project; --data a folder that its prepare.py made. nanoGPT runs
its README's command for a CPU, or each --nanogpt-config as it is (those that name no device run on the CPU, those that
do not speak of compilation without it); --equal-time instead gives each as many iterations as fit into the seconds,
counted from a short run. T in --seconds is how long the fastest of them took. Ours runs with an empty compiler cache
(cold) and with a filled one (warm). Seconds run from the start of a process to its end: imports, compilation and its
own final evaluation included. Every checkpoint is scored afterwards on all of val.bin: in windows of the shortest block
size of all, and in windows as long as each model reads.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.learning_curves import curve_lines, draw, nanogpt_point, thinned
from benchmarks.learning_data import open_data
from benchmarks.result import circumstances

Json = dict[str, Any]
README_COMMAND = (
    "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 "
    "--batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
)
PROBE_ITERATIONS = 40
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Finished:
    """A process that ended well."""

    wall_seconds: float
    peak_mb: int
    cpu_seconds: float
    output: str
    curve: list[Json]


def run(command: list[str], folder: Path, environment: dict[str, str], read: Callable[..., Json | None]) -> Finished:
    """Run it to its end, reading its lines as they come; RuntimeError, with its last words, where it failed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines, curve = [], []
    for line in process.stdout:
        lines.append(line)
        if point := read(line, round(time.perf_counter() - began, 2)):
            curve.append(point)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {process.returncode}:\n{''.join(lines[-15:])}")
    cpu = usage.ru_utime + usage.ru_stime
    return Finished(round(wall, 1), usage.ru_maxrss // 1024, round(cpu, 1), "".join(lines), curve)


def nothing(line: str, seconds: float) -> None:
    """No curve is read off these lines."""


class NanoGPT:
    """Its runs on one data folder."""

    def __init__(self, code: Path, data: Path, folder: Path, equal_seconds: float | None) -> None:
        self.code, self.data, self.folder, self.equal_seconds = code, data, folder, equal_seconds

    def train(self, name: str, arguments: list[str]) -> Json:
        """One configuration, whole process."""
        output = self.folder / name
        given = [*arguments, f"--dataset={self.data}", f"--out_dir={output}", "--wandb_log=False"]
        if self.equal_seconds is not None:
            given += self.fitting(given, self.equal_seconds)
        finished = self.process(given)
        if not (output / "ckpt.pt").exists():
            raise RuntimeError(f"nanoGPT's {name} saved no checkpoint: its eval_interval is over its max_iters")
        return {
            "name": name,
            "command": "python train.py " + shlex.join([*arguments, *given[len(arguments) + 3 :]]),
            "checkpoint": output / "ckpt.pt",
            "wall_seconds": finished.wall_seconds,
            "cpu_seconds": finished.cpu_seconds,
            "peak_mb": finished.peak_mb,
            "iterations": max((p["step"] for p in finished.curve), default=0),
            "curve": thinned(finished.curve, finished.wall_seconds / 60),
        }

    def process(self, arguments: list[str]) -> Finished:
        return run([sys.executable, "train.py", *arguments], self.code, {}, nanogpt_point)

    def fitting(self, arguments: list[str], seconds: float) -> list[str]:
        """As many iterations as fit: what two short runs took says what an iteration takes, and what the rest does.

        It evaluates four times, 20 batches of each split, as its README says for a CPU.
        """
        short = ["--eval_iters=20", "--log_interval=1", "--eval_interval=1000000"]
        probe = self.process([*arguments, *short, f"--max_iters={PROBE_ITERATIONS}"])
        times = [p["seconds"] for p in probe.curve if "train_loss" in p]
        evaluation = next(p["seconds"] for p in probe.curve if "val_loss" in p)
        an_iteration = (times[-1] - times[5]) / (len(times) - 6)
        batches = 20 * 2 / 3 * an_iteration  # an evaluation is forward passes alone
        left = seconds - evaluation - 4 * batches - (probe.wall_seconds - times[-1])
        iterations = max(4, int(left / an_iteration) // 4 * 4)
        return [
            "--eval_iters=20",
            "--log_interval=1",
            f"--eval_interval={iterations // 4}",
            f"--max_iters={iterations}",
            f"--lr_decay_iters={iterations}",
        ]


def configurations(files: list[Path]) -> dict[str, list[str]]:
    """By name: what train.py is given."""
    if not files:
        return {"nanogpt_readme_cpu": shlex.split(README_COMMAND)}
    return {f"nanogpt_{file.stem}": [str(file.resolve()), *missing(file.read_text())] for file in files}


def missing(config: str) -> list[str]:
    """What a configuration needs on a CPU, unless it says so itself."""
    wanted = {"device": "cpu", "compile": "False"}
    return [f"--{k}={v}" for k, v in wanted.items() if not re.search(rf"^{k} {{0,9}}=", config, re.MULTILINE)]


def train_ours(data: Path, seconds: float, cache: Path, output: Path, name: str) -> Json:
    """Ours with this compiler cache, whole process."""
    command = ["benchmarks.learning_run", "--data", str(data), "--seconds", f"{seconds:.1f}"]
    finished = ours(command, cache, output)
    record: Json = json.loads((output / "run.json").read_text())
    return {
        "name": name,
        "command": "python -m " + shlex.join(command),
        "seconds_given": seconds,
        "checkpoint": output,
        "wall_seconds": finished.wall_seconds,
        "cpu_seconds": finished.cpu_seconds,
    } | {key: record[key] for key in record if key not in ("config", "val_loss")}


def ours(command: list[str], cache: Path, output: Path) -> Finished:
    cache.mkdir(parents=True, exist_ok=True)
    full = [sys.executable, "-m", *command, "--output", str(output)]
    return run(full, ROOT, {"TORCHINDUCTOR_CACHE_DIR": str(cache)}, nothing)


def scores(code: Path, data: Path, checkpoint: Path, sizes: list[int]) -> Json:
    command = [sys.executable, "-m", "benchmarks.learning_score", "--data", str(data), "--nanogpt", str(code)]
    command += ["--checkpoint", str(checkpoint), "--block-sizes", *map(str, sizes)]
    found: Json = json.loads(run(command, ROOT, {}, nothing).output.splitlines()[-1])
    return found


def score_all(runs: list[Json], code: Path, data: Path) -> None:
    """Every run gets its loss in windows of the shortest block size of all, and in windows of its own."""
    for one in runs:
        one["own"] = scores(code, data, one["checkpoint"], [0])
    shortest = min(one["own"]["block_size"] for one in runs)
    for one in runs:
        found = scores(code, data, one.pop("checkpoint"), [shortest])["by_block_size"][str(shortest)]
        own = one.pop("own")
        one["scores"] = {"common_block_size": shortest, "common": found, "own_block_size": own["block_size"]}
        one["scores"]["own"] = own["by_block_size"][str(own["block_size"])]
        one["loss"] = one["scores"]["own"]["nats_per_token"]


def budget(text: str, whole: float) -> float:
    """`60` is seconds, `0.25T` a share of nanoGPT's time."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)(T?)", text)
    if not found:
        raise ValueError(f"--seconds {text}: give seconds, or a share of nanoGPT's time as 0.25T")
    return float(found[1]) * (whole if found[2] else 1)


def compare(arguments: argparse.Namespace, folder: Path) -> Json:
    data = arguments.data.resolve()
    opened = open_data(data)
    equal = budget(arguments.seconds[0], 0) if arguments.equal_time else None
    nano = NanoGPT(arguments.nanogpt.resolve(), data, folder, equal)
    runs = []
    for name, given in configurations(arguments.nanogpt_config).items():
        runs.append(nano.train(name, given))
        say(runs[-1])
    whole = min(one["wall_seconds"] for one in runs)
    for text in arguments.seconds:
        seconds = budget(text, whole)
        for state in arguments.cache:
            cache = folder / f"cache_{state}_{text}"
            if state == "warm":
                prime = ["benchmarks.learning_run", "--data", str(data), "--seconds", f"{seconds:.1f}", "--prime"]
                ours(prime, cache, folder / "primed")
            name = f"ours_{text}_{state}"
            runs.append(train_ours(data, seconds, cache, folder / name, name))
            say(runs[-1])
    score_all(runs, nano.code, data)
    return {
        "data": {
            "folder": data.name,
            "train_tokens": len(opened.train),
            "val_tokens": len(opened.val),
            "vocabulary": opened.vocab_size,
        },
        "nanogpt_seconds": whole,
        "runs": runs,
    }


def say(one: Json) -> None:
    print(f"{one['name']}: {one['wall_seconds']} s, {one['peak_mb']} MB", file=sys.stderr, flush=True)


def table(result: Json) -> str:
    """The runs, best last, and their curves."""
    lines = []
    for one in result["runs"]:
        lines += [one["name"], *curve_lines("", one["curve"])]
    lines.append(f"{'':28}{'seconds':>8}{'MB':>6}{'nats/token':>12}{'bits/byte':>11}{'nats, same windows':>20}")
    for one in result["runs"]:
        own, common = one["scores"]["own"], one["scores"]["common"]
        bits = f"{own['bits_per_byte']:.4f}" if "bits_per_byte" in own else "unknown"
        lines.append(
            f"{one['name']:28}{one['wall_seconds']:8.1f}{one['peak_mb']:6}{own['nats_per_token']:12.4f}{bits:>11}"
            f"{common['nats_per_token']:15.4f} ({one['scores']['common_block_size']})"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning")
    parser.add_argument("--nanogpt", type=Path, required=True, help="nanoGPT's repository, outside the project")
    parser.add_argument("--data", type=Path, required=True, help="a data folder that nanoGPT prepared")
    parser.add_argument("--seconds", nargs="+", required=True, help="for ours: 60, or 0.25T of nanoGPT's time")
    parser.add_argument("--nanogpt-config", type=Path, nargs="+", default=[], help="instead of its README's command")
    parser.add_argument("--equal-time", action="store_true", help="nanoGPT gets the first of the seconds too")
    parser.add_argument("--cache", nargs="+", choices=("cold", "warm"), default=["cold", "warm"])
    parser.add_argument("--json", action="store_true", help="print the result as JSON, not as a table")
    parser.add_argument("--output", type=Path, help="write the JSON here, and the plot beside it")
    arguments = parser.parse_args()
    result = circumstances("python -m benchmarks.learning " + shlex.join(sys.argv[1:]), ("torch", "numpy"))
    with tempfile.TemporaryDirectory(prefix="learning-") as folder:
        result |= compare(arguments, Path(folder))
    print(json.dumps(result, indent=2) if arguments.json else table(result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")
        draw(result["runs"], arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
