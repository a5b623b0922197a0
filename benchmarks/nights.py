"""Ten nights of growing text: what each publishes, against an oracle that knew all of it from the start.

    python -m benchmarks.nights --documents FILE.jsonl --folder DIR --output benchmarks/results/nights.json

The documents ({"url", "text"} a line; `benchmarks.documents` makes such a file) are stored and prepared once with the
project's own stages; night n of N then sees the first n/N of them. Four policies read batches of the same size in the
same order of sampling, with the same network:

- published: the project's trainer, as a night runs it, gate included. A night's steps are those that stay in the
  lineage and those of a branch that is thrown away, if there is one, together.
- oracle: from scratch on the documents of that night, with all the steps that the nights up to it spent and a rate
  that falls linearly to nothing; the best of several rates, chosen on the first seed for each of its nights.
- cosine: each night goes on with the optimizer where the last one ended, the rate once along a cosine.
- new: the same on the documents of that night alone.

All are scored in bits per byte on the same windows: the growing set (all held-out text of that night) and the
first night's held-out text (forgetting). Single-threaded, in processes side by side; a folder of a run that was cut is
gone on with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import MISSING, asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.result import circumstances, write_result
from model.contracts.job import TrainJob
from model.data.document_table import DOCUMENT, TABLE, TRAIN, VALIDATION
from tasks.contracts.paths import Layout, find_data_directory
from tasks.tokenize.token_files import read_manifest

Json = dict[str, Any]
CHECKED = (2, 5, 10)
"""Nights that have an oracle."""
MOST_BEHIND = 0.01
MOST_FORGOTTEN = 0.01


@dataclass(frozen=True)
class Setup:
    """What all runs share."""

    data: str
    """Prepared data directory."""
    work: str
    nights: int
    steps: int
    """A night's, those of its branch included."""
    documents: int
    """Of the table, in all nights together."""
    n_layer: int
    n_embd: int
    block_size: int
    batch_size: int
    threads: int
    dtype: str
    evaluate_tokens: int
    rates: tuple[float, ...]
    """Of the oracle: Muon's; AdamW's in the recipe's proportion to it."""

    @property
    def layout(self) -> Layout:
        return find_data_directory(Path(self.data))


@dataclass(frozen=True)
class Run:
    """One lineage, or one oracle."""

    policy: str
    seed: int
    night: int = 0
    """Of an oracle; 0: all nights."""
    rate: float = 0.0
    """Muon's, of an oracle; 0: the recipe's."""

    @property
    def name(self) -> str:
        return f"{self.policy}-{self.seed}" + (f"-{self.night}-{self.rate:g}" if self.night else "")


@dataclass(frozen=True)
class Night:
    """What is committed in a night."""

    number: int
    train_tokens: int
    val_tokens: int
    new_from: int
    next_seq: int


def nights(setup: Setup) -> list[Night]:
    """The table of documents, cut evenly."""
    rows = np.fromfile(setup.layout.processed / TABLE, dtype=DOCUMENT)[: setup.documents]
    found: list[Night] = []
    for number in range(1, setup.nights + 1):
        part = rows[: len(rows) * number // setup.nights]
        train, val = (int(part["length"][part["split"] == split].sum()) for split in (TRAIN, VALIDATION))
        before = found[-1].train_tokens if found else 0
        found.append(Night(number, train, val, before, int(part["seq"][-1]) + 1))
    return found


def job_of(setup: Setup, run: Run, night: Night, folder: Path) -> TrainJob:
    """The trainer's job for a night: its own defaults but for the size."""
    layout = setup.layout
    meta = read_manifest(layout)
    assert meta is not None
    job = TrainJob(
        processed_dir=layout.processed,
        checkpoints_dir=folder / "checkpoints",
        models_dir=folder / "models",
        tokenizer_path=layout.tokenizer,
        tokenizer_provisional=False,
        generation=meta.generation,
        train_tokens=night.train_tokens,
        val_tokens=night.val_tokens,
        documents=night.next_seq,
        seed=run.seed,
        n_layer=setup.n_layer,
        n_embd=setup.n_embd,
        block_size=setup.block_size,
        batch_size=setup.batch_size,
        steps=setup.steps,
        dtype=setup.dtype,
        compile="off",
        threads=setup.threads,
        checkpoint_every_seconds=1e9,
        evaluate_tokens=setup.evaluate_tokens,
        prompts=(),
    )
    return replace(job, steps=trunk_steps(job))


def trunk_steps(job: TrainJob) -> int:
    """How many of a night's steps stay in the lineage, so that with the branch there are as many as were asked for."""
    return round(job.steps / (1 + job.decay_fraction))


def do(setup: Setup, run: Run) -> Json:
    """Carry out a run, unless its result is there."""
    result = Path(setup.work) / f"{run.name}.json"
    if result.exists():
        done: Json = json.loads(result.read_text())
        return done
    began, cpu = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory(dir=setup.work) as folder:
        rows = {"published": published, "oracle": oracle, "cosine": cosine, "new": cosine}[run.policy](
            setup, run, Path(folder)
        )
    figures = {**asdict(run), "nights": rows, "seconds": round(time.monotonic() - began, 1)}
    figures["cpu_seconds"] = round(time.process_time() - cpu, 1)
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps(figures))
    os.replace(temporary, result)
    print(run.name, figures["seconds"], [row["bits_per_byte"] for row in rows], file=sys.stderr, flush=True)
    return figures


def published(setup: Setup, run: Run, folder: Path) -> list[Json]:
    """The project's trainer, night after night, in the way that the night's child process calls it."""
    from model.publishing.hf_export import load_published
    from model.train_chunk import train

    rows = []
    for night in nights(setup):
        job = job_of(setup, run, night, folder)
        done = train(job, lambda event: None)
        model = load_published(Path(done["published_path"]))
        names = ("steps_done", "branch_steps", "published", "candidate")
        rows.append(scores(setup, job, model) | {"night": night.number} | {name: done[name] for name in names})
    return rows


def oracle(setup: Setup, run: Run, folder: Path) -> list[Json]:
    """From scratch, with the steps of all nights so far."""
    trainer = open_trainer(job_of(setup, run, nights(setup)[run.night - 1], folder), run.rate)
    steps = setup.steps * run.night
    for step in range(steps):
        warm = min(1.0, (step + 1) / (trainer.job.warmup_steps + 1))
        trainer.train_step(step, warm * (1 - step / steps))
    return [scores(setup, trainer.job, trainer.model) | {"night": run.night, "steps": steps}]


def cosine(setup: Setup, run: Run, folder: Path) -> list[Json]:
    """A cosine a night, on all documents or on the new ones alone."""
    from model.data.cohorts import Cohort
    from model.data.document_table import read_documents
    from model.data.tokens import open_tokens

    trainer: Any = None
    rows = []
    for night in nights(setup):
        job = job_of(setup, run, night, folder)
        first = night.new_from if run.policy == "new" else 0
        trainer = trainer or open_trainer(job)
        documents = read_documents(job.processed_dir, TRAIN, job.train_tokens).copy()
        documents = documents[documents["offset"] >= first]
        documents["offset"] -= first
        trainer.tokens = open_tokens(job.processed_dir / "train.bin", job.train_tokens)[first:]
        began = (night.number - 1) * setup.steps
        newest = Cohort(str(began), night.next_seq, job.train_tokens - first)
        known = trainer.plan.cohorts_at(began) if began and run.policy == "cosine" else ()
        trainer.plan = replace(trainer.plan, documents=documents, cohorts=(*known, newest), first_step=began)
        for i in range(setup.steps):
            step = began + i
            warm = min(1.0, (step + 1) / (job.warmup_steps + 1))
            trainer.train_step(step, warm * (0.5 + 0.5 * math.cos(math.pi * i / setup.steps)))
        rows.append(scores(setup, job, trainer.model) | {"night": night.number, "steps_done": setup.steps})
    return rows


def open_trainer(job: TrainJob, rate: float = 0.0) -> Any:
    """The trainer's own network, optimizer and batches, at step 0; `rate` 0: the recipe's."""
    from model.data.tokenizer import load_tokenizer, tokenizer_digest
    from model.network.config import GPTConfig
    from model.training.numerics import choose
    from model.training.trainer import Trainer

    muon = rate or job.muon_learning_rate
    adamw = job.adamw_learning_rate * muon / job.muon_learning_rate
    job = replace(job, muon_learning_rate=muon, adamw_learning_rate=adamw)
    job.checkpoints_dir.mkdir(parents=True, exist_ok=True)
    config = GPTConfig(**job.shape(load_tokenizer(job.tokenizer_path).get_vocab_size()))
    numerics = choose(job, config, None, None)
    return Trainer(job, config, numerics, tokenizer_digest(job.tokenizer_path), lambda event: None)


def scores(setup: Setup, job: TrainJob, model: Any) -> Json:
    """Bits per byte on the growing set and on the first night's text, in fp32."""
    from model.data.batches import evaluation_windows, spread
    from model.data.tokenizer import load_tokenizer, token_bytes
    from model.data.tokens import open_tokens
    from model.publishing.evaluate import score_windows, summarize

    sizes = token_bytes(load_tokenizer(job.tokenizer_path))
    values = []
    for tokens in (job.val_tokens, nights(setup)[0].val_tokens):
        most = max(1, setup.evaluate_tokens // model.config.block_size)
        windows = spread(evaluation_windows(tokens, model.config.block_size), most)
        scored = score_windows(model, open_tokens(job.processed_dir / "val.bin", tokens), windows, sizes)
        found = summarize(scored, windows, model.config.vocab_size)
        values.append(round(found.bits_per_byte, 5) if found else math.nan)
    return {"bits_per_byte": values[0], "first_night": values[1]}


def prepare(documents: Path, data: Path, most: int) -> None:
    """Store the documents and derive everything from them, once."""
    from benchmarks.data_stages import in_a_process, store_documents
    from benchmarks.texts import as_document

    if not (data / "processed" / "meta.json").exists():
        shutil.rmtree(data, ignore_errors=True)
        with documents.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in islice(file, most)]
        store_documents(data, [as_document(line["text"], line["url"]) for line in lines])
        in_a_process(data)


def run_all(setup: Setup, seeds: list[int], processes: int) -> list[Json]:
    """All runs, the longest first; the second seed's oracles only with the rate that was best on the first."""
    checked = [night for night in CHECKED if night <= setup.nights]
    first = [Run("oracle", seeds[0], night, rate) for night in checked for rate in setup.rates]
    lineages = [Run(policy, seed) for seed in seeds for policy in ("published", "cosine", "new")]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        runs = sorted(lineages + first, key=lambda run: -(run.night or setup.nights))
        done = pool.starmap(do, [(setup, run) for run in runs], chunksize=1)
        best = best_rates(done, checked)
        others = [Run("oracle", seed, night, best[night]) for night in reversed(checked) for seed in seeds[1:]]
        return done + pool.starmap(do, [(setup, run) for run in others], chunksize=1)


def best_rates(done: list[Json], checked: list[int]) -> dict[int, float]:
    oracles = [run for run in done if run["policy"] == "oracle"]
    chosen = {}
    for night in checked:
        tried = [run for run in oracles if run["night"] == night]
        chosen[night] = min(tried, key=lambda run: float(run["nights"][0]["bits_per_byte"]))["rate"]
    return chosen


def summarize(setup: Setup, seeds: list[int], done: list[Json]) -> Json:
    """Means over the seeds, and whether what was promised holds."""
    checked = [night for night in CHECKED if night <= setup.nights]

    def curve(policy: str, name: str) -> list[float]:
        lineages = [run["nights"] for run in done if run["policy"] == policy]
        return [round(mean(rows[i][name] for rows in lineages), 4) for i in range(setup.nights)]

    best = best_rates([run for run in done if run["seed"] == seeds[0]], checked)
    oracles = {
        night: round(
            mean(
                run["nights"][0]["bits_per_byte"]
                for run in done
                if run["policy"] == "oracle" and run["night"] == night and run["rate"] == best[night]
            ),
            4,
        )
        for night in checked
    }
    curves = {policy: curve(policy, "bits_per_byte") for policy in ("published", "cosine", "new")}
    oldest = curve("published", "first_night")
    behind = {night: round(curves["published"][night - 1] / bits - 1, 5) for night, bits in oracles.items()}
    forgotten = round(oldest[-1] / min(oldest) - 1, 5)
    others = [min(curves["cosine"][i], curves["new"][i]) for i in range(setup.nights)]
    rows = [row for run in done if run["policy"] == "published" for row in run["nights"]]
    return {
        "bits_per_byte": curves,
        "oracle": oracles,
        "oracle_rates": best,
        "oracle_tried": {
            f"night {run['night']}, rate {run['rate']:g}": run["nights"][0]["bits_per_byte"]
            for run in sorted(done, key=lambda run: (run["night"], run["rate"]))
            if run["policy"] == "oracle" and run["seed"] == seeds[0]
        },
        "behind_oracle": behind,
        "first_night_text": {policy: curve(policy, "first_night") for policy in ("published", "cosine", "new")},
        "forgotten": forgotten,
        "steps_a_night": {
            "in_the_lineage": sorted({row["steps_done"] for row in rows}),
            "branch_thrown_away": sorted({row["branch_steps"] for row in rows}),
        },
        "candidates": [[row["candidate"] for row in run["nights"]] for run in done if run["policy"] == "published"],
        "refused_by_the_gate": sum(not row["published"] for row in rows),
        "must": {
            "within_1_percent_of_the_oracle": all(value <= MOST_BEHIND for value in behind.values()),
            "better_than_cosine_and_new_from_night_2": all(
                mine < other for mine, other in list(zip(curves["published"], others, strict=True))[1:]
            ),
            "forgotten_under_1_percent": forgotten < MOST_FORGOTTEN,
        },
        "seconds": {run_name(run): run["seconds"] for run in done},
    }


def run_name(run: Json) -> str:
    return Run(run["policy"], run["seed"], run["night"], run["rate"]).name


def draw(result: Json, target: Path) -> None:
    """The policies' curves and the oracle's points, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    colours = {"published": "#274690", "cosine": "#e9b44c", "new": "#c8553d"}
    for axis, name, title in (
        (axes[0], "bits_per_byte", "bits per byte, all held-out text of the night"),
        (axes[1], "first_night_text", "the first night's held-out text"),
    ):
        for policy, colour in colours.items():
            values = result[name][policy]
            axis.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=3, label=policy)
        axis.set_title(title, fontsize="medium")
        axis.set_xlabel("night")
        axis.spines[["top", "right"]].set_visible(False)
    points = {int(night): bits for night, bits in result["oracle"].items()}
    axes[0].plot(list(points), list(points.values()), "k*", label="oracle, from scratch")
    axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(target, dpi=90)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--documents", type=Path, help='JSON lines with "url" and "text"')
    source.add_argument("--data", type=Path, help="a data directory whose text is prepared")
    parser.add_argument("--folder", type=Path, required=True, help="for what is prepared and what is done")
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400, help="of a night, its branch included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=0, help="new training tokens a night; 0: those that it trains on")
    parser.add_argument("--most-documents", type=int, default=20_000, help="read from the file at most")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.015, 0.03, 0.06], help="of the oracle (Muon)")
    parser.add_argument("--evaluate-tokens", type=int, default=131_072)
    parser.add_argument("--output", type=Path, help="JSON; the picture is written beside it")
    return parser.parse_args()


def command_of(options: argparse.Namespace) -> str:
    """How to run it again, without the folders of this machine."""
    command = "python -m benchmarks.nights --documents FILE --folder DIR"
    for name, value in vars(options).items():
        if name not in ("documents", "data", "folder", "output"):
            words = value if isinstance(value, list) else [value]
            command += f" --{name.replace('_', '-')} {' '.join(map(str, words))}"
    return command


def main() -> None:
    options = arguments()
    data = options.data or options.folder / "data"
    if options.documents:
        prepare(options.documents, data, options.most_documents)
    tokens = options.nights * (options.tokens or options.steps * options.batch * options.block)
    rows = np.fromfile(data / "processed" / TABLE, dtype=DOCUMENT)
    trained = np.cumsum(np.where(rows["split"] == TRAIN, rows["length"], 0))
    if trained[-1] < tokens:
        print(f"only {trained[-1]} of {tokens} training tokens are there: all are used", file=sys.stderr)
    setup = Setup(
        str(data.resolve()),
        "",
        options.nights,
        options.steps,
        int(np.searchsorted(trained, tokens)),
        options.layers,
        options.width,
        options.block,
        options.batch,
        options.threads,
        options.dtype,
        options.evaluate_tokens,
        tuple(options.rates),
    )
    recipe = {field.name: field.default for field in fields(TrainJob) if field.default is not MISSING}
    key = hashlib.sha256(repr((setup, recipe)).encode()).hexdigest()[:12]
    work = options.folder / f"runs-{key}"
    work.mkdir(parents=True, exist_ok=True)
    setup = replace(setup, work=str(work.resolve()))
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    done = run_all(setup, options.seeds, options.processes)
    shown = {name: value for name, value in asdict(setup).items() if name not in ("data", "work")}
    result = circumstances(command_of(options), ("torch", "numpy"))
    result |= {"setup": shown | {"seeds": options.seeds, "processes": options.processes}}
    result |= summarize(setup, options.seeds, done)
    write_result(result, options.output)
    if options.output:
        draw(result, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
