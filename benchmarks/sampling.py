"""500 tokens of text from 4 million parameters: beside nanoGPT's `generate`, beside a busy process, and how soon the
first word is there.

    python -m benchmarks.sampling --nanogpt DIR --output benchmarks/results/sampling.json

4 layers, 256 wide, block 256, 4,096 ids, untrained weights. nanoGPT (DIR is its repository, fetched outside the
project) generates as its `sample.py` does, on a CPU: with all threads and with one; the faster of both counts. Each
measurement is a process of its own; all take turns, and the median round counts. Loading is not in the seconds of 500
tokens; it is in those of the command.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.result import circumstances, write_result
from benchmarks.step import busy_process
from tasks.contracts.paths import PROJECT

Json = dict[str, Any]
LAYERS, HEADS, WIDTH, BLOCK, VOCABULARY = 4, 4, 256, 256, 4096
TOKENS = 500
PROMPT = "The "


def publish_untrained(data: Path) -> None:
    """Writes a published model with the tokenizer of this project's own texts."""
    import torch

    from model.data.tokenizer import train_tokenizer
    from model.network.config import GPTConfig
    from model.network.gpt import GPT
    from model.publishing.hf_export import publish

    folders = ("docs", "tasks", "model", "flows", "tests", "benchmarks")
    paths = sorted(
        path for folder in folders for path in (PROJECT / folder).rglob("*") if path.suffix in (".md", ".py")
    )
    tokenizer = train_tokenizer((path.read_text(encoding="utf-8") for path in paths), VOCABULARY)
    data.mkdir()
    tokenizer.save(str(data / "tokenizer.json"))
    config = GPTConfig(tokenizer.get_vocab_size(), BLOCK, LAYERS, HEADS, HEADS, WIDTH, WIDTH // HEADS, 704)
    torch.manual_seed(0)
    network = GPT(config)
    publish(data / "models", 0, config, dict(network.state_dict()), data / "tokenizer.json", {})


def ours(data: str) -> float:
    """Seconds of the tokens, as `run.py sample` writes them."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    from model.data.tokenizer import load_tokenizer
    from model.publishing.sample import Sampling, load_decoder, sample

    folder = Path(data) / "models" / "latest"
    decoder, tokenizer = load_decoder(folder), load_tokenizer(folder / "tokenizer.json")
    began = time.perf_counter()
    for _ in sample(decoder, tokenizer, PROMPT, Sampling(TOKENS, ignore_end=True)):
        pass
    return time.perf_counter() - began


def nanogpt(folder: str) -> float:
    """Seconds of as many tokens of nanoGPT's."""
    import torch

    theirs = importlib.import_module("model")
    if Path(str(theirs.__file__)).parent != Path(folder):
        raise FileNotFoundError(f"{folder} has no model.py: give --nanogpt nanoGPT's repository")
    network = theirs.GPT(theirs.GPTConfig(BLOCK, VOCABULARY, LAYERS, HEADS, WIDTH, 0.0, False)).eval()
    began = time.perf_counter()
    network.generate(torch.zeros((1, 2), dtype=torch.long), TOKENS, temperature=0.8, top_k=50)
    return time.perf_counter() - began


def seconds(*arguments: str, **variables: str) -> float:
    """One measurement in a process of its own; nanoGPT's module is called `model` as our package is."""
    folder = arguments[1] if arguments[0] == "nanogpt" else str(PROJECT)
    command = [sys.executable, str(PROJECT / "benchmarks" / "sampling.py"), "--measure", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, str(PROJECT)])} | variables
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def command(data: Path) -> tuple[float, float]:
    """Seconds from the start of `run.py sample` to the first word after the prompt, and to the end."""
    arguments = ["--data-dir", str(data), "sample", "--prompt", PROMPT, "--tokens", str(TOKENS), "--ignore-end"]
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, str(PROJECT / "run.py"), *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(len(PROMPT) + 1)
        first = time.perf_counter() - began
        process.stdout.read()
    if process.returncode:
        raise SystemExit("run.py sample failed")
    return first, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling")
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, folder = options.measure
        print(ours(folder) if kind == "ours" else nanogpt(folder))
        return
    if options.nanogpt is None:
        parser.error("--nanogpt DIR is needed: nanoGPT's repository")
    about = circumstances("python -m benchmarks.sampling --nanogpt DIR", ("numpy", "torch"))
    own, peer, peer_alone, busy, first, whole = [], [], [], [], [], []
    folder = str(options.nanogpt.resolve())
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        publish_untrained(data)
        command(data)  # files read, modules compiled
        for _ in range(options.rounds):
            own.append(seconds("ours", str(data)))
            peer.append(seconds("nanogpt", folder))
            peer_alone.append(seconds("nanogpt", folder, OMP_NUM_THREADS="1"))
            with busy_process():
                busy.append(seconds("ours", str(data)))
            to_first, to_end = command(data)
            first.append(to_first)
            whole.append(to_end)
    quiet = statistics.median(own)
    figures: Json = {
        "bounds": "10 times nanoGPT, first word within 2.5 s, 0.45 with another process busy",
        "of_nanogpt": round(min(map(statistics.median, (peer, peer_alone))) / quiet, 1),
        "first_word_seconds": round(statistics.median(first), 2),
        "busy_of_quiet": round(quiet / statistics.median(busy), 2),
    }
    names = {"ours": own, "nanogpt": peer, "nanogpt_one_thread": peer_alone, "busy": busy}
    names |= {"command_first_word": first, "command": whole}
    rounds = {f"{name}_seconds": [round(one, 3) for one in values] for name, values in names.items()}
    write_result(about | figures | rounds, options.output)


if __name__ == "__main__":
    main()
