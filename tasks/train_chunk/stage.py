"""Train-chunk: one bounded stretch of training in a child process of its own, so that its memory goes back.

The child imports no Prefect. It inherits the writer lock and dies with us; what it had saved is whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.contracts.job import TrainJob, chunk_path
from tasks.contracts.errors import NothingToTrainError, SettingsError, TrainingError
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.run_record import RunRecord
from tasks.contracts.settings import TrainSettings
from tasks.storage.atomic_files import write_atomically
from tasks.tokenize.token_files import Manifest

Event = dict[str, Any]


MOST_SPIKES_SAID = 3  # the others are only counted
SHAPE = ("block_size", "n_layer", "n_head", "n_kv_head", "n_embd")


def make_job(layout: Layout, meta: Manifest, provisional: bool, settings: TrainSettings) -> tuple[TrainJob, list[str]]:
    """The chunk that these settings ask for, on what is committed now; and what has to be said about it.

    The shape belongs to the lineage: a model is never started over because a profile asks for another one.

    Raises:
        NothingToTrainError: fewer tokens than one window.
    """
    if meta.train_tokens <= settings.block_size:
        raise NothingToTrainError(
            f"nothing to train on yet: {meta.train_tokens} tokens are prepared, {settings.block_size + 1} are needed. "
            "Collect pages (python run.py collect) or add your own text (python run.py add PATH)."
        )
    settled = _settled_shape(layout)
    shape = {name: settled.get(name, getattr(settings, name)) for name in SHAPE}
    other = [f"{name} {getattr(settings, name)}" for name in SHAPE if shape[name] != getattr(settings, name)]
    messages = []
    if other:
        messages.append(
            f"the model keeps the shape it began with; the profile's {', '.join(other)} needs a new lineage: "
            f"move {layout.checkpoints} and {layout.models} aside for one"
        )
    try:
        return _job(layout, meta, provisional, settings, shape), messages
    except ValueError as error:
        raise SettingsError(f"train: {error}") from error


def _job(layout: Layout, meta: Manifest, provisional: bool, settings: TrainSettings, shape: dict[str, Any]) -> TrainJob:
    return TrainJob(
        processed_dir=layout.processed,
        checkpoints_dir=layout.checkpoints,
        models_dir=layout.models,
        tokenizer_path=layout.tokenizer,
        tokenizer_provisional=provisional,
        generation=meta.generation,
        train_tokens=meta.train_tokens,
        val_tokens=meta.val_tokens,
        documents=meta.next_seq,
        rules=meta.rules,
        seed=settings.seed,
        batch_size=settings.batch_size,
        new_share=settings.new_share,
        **shape,
        steps=settings.steps,
        minutes=settings.minutes or None,
        muon_learning_rate=settings.muon_learning_rate,
        adamw_learning_rate=settings.adamw_learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        hold_steps=settings.hold_steps,
        decay_fraction=settings.decay_fraction,
        average_shares=settings.average_shares,
        dtype=settings.dtype,
        compile=settings.compile,
        threads=settings.threads,
        checkpoint_every_seconds=settings.checkpoint_seconds,
        evaluate_tokens=settings.evaluate_tokens,
        prompts=settings.prompts,
    )


def covers(meta: Manifest, chunk: dict[str, Any]) -> bool:
    """Whether the token files hold all that a chunk was begun with."""
    recipe: dict[str, int] = chunk["recipe"]
    return meta.train_tokens >= recipe["train_tokens"] and meta.val_tokens >= recipe["val_tokens"]


def _settled_shape(layout: Layout) -> dict[str, int]:
    """The shape of the newest checkpoint whose record can be read; empty where there is none."""
    for folder in sorted(layout.checkpoints.glob("step_*"), key=_step, reverse=True):
        try:
            config = json.loads((folder / "metadata.json").read_text())["config"]
            return {name: int(config[name]) for name in SHAPE}
        except (OSError, ValueError, KeyError):
            continue  # damaged: the trainer names it and falls back likewise
    return {}


def _step(folder: Path) -> int:
    number = folder.name.removeprefix("step_")
    return int(number) if number.isdecimal() else -1


def train_chunk(job: TrainJob, layout: Layout, lock_handle: int, hear: Callable[[Event], None]) -> Event:
    """Run the child to its end; `hear` gets each of its events. Returns the last one, `done`.

    Raises:
        TrainingError: it failed; the message is the child's own.
    """
    newest = _newest_step(layout)
    path = layout.state / "train_job.json"
    write_atomically(path, job.to_json().encode())
    child = subprocess.Popen(
        [sys.executable, "-m", "model.train_chunk", str(path)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(lock_handle,),
        env=os.environ | {"MINIATURE_MEMORY_PARENT": str(os.getpid())},
    )
    last: Event = {}
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(child.stderr or ()), daemon=True)
    reader.start()
    try:
        for line in child.stdout or ():
            last = _event(line) or last
            if last.get("event") != "done":
                hear(last)
        status = child.wait()
    except BaseException:
        _stop(child)
        raise
    reader.join(timeout=5)
    if not reader.is_alive() and child.stdout and child.stderr:
        child.stdout.close()
        child.stderr.close()
    if status == 128 + signal.SIGINT:
        raise KeyboardInterrupt  # Ctrl-C went to both of us, and the child was quicker
    if status != 0 or last.get("event") != "done":
        if status == -signal.SIGKILL and _newest_step(layout) == newest:
            # Out of memory, most likely: with the same recipe it would be killed every night.
            chunk_path(layout.checkpoints).unlink(missing_ok=True)
        raise TrainingError(_reason(status, last, errors))
    return last


def _newest_step(layout: Layout) -> int:
    return max((_step(folder) for folder in layout.checkpoints.glob("step_*")), default=-1)


def _event(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # a library's own print
    return event if isinstance(event, dict) and "event" in event else None


def _stop(child: subprocess.Popen[str]) -> None:
    """Ask it to save and end; a child that does not is killed, and its last checkpoint counts."""
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reason(status: int, last: Event, errors: list[str]) -> str:
    if last.get("event") == "error":
        return str(last.get("message"))
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory? lower train.batch_size)" if name == "SIGKILL" else ""
        return f"training was ended by {name}{hint}; the next run goes on from the last checkpoint"
    tail = "".join(errors[-3:]).strip()
    return f"training ended with status {status}; the next run goes on from the last checkpoint. {tail}"


def describe(event: Event, record: RunRecord) -> None:
    """Say in the run's record what the child reports."""
    match event["event"]:
        case "start":
            numerics = event["numerics"]
            unread = f" ({event['unread_tokens']:,} of them not read yet)" if event["step"] else ""
            record.say(
                f"training {event['parameters'] / 1e6:.1f}M parameters on {event['train_tokens']:,} tokens{unread}, "
                f"steps {event['step']} to {event['target_step']} "
                f"({numerics['dtype']}, {numerics['threads']} threads, "
                f"{'compiled' if numerics['compiled'] else 'not compiled'})"
            )
            if event["inexact"]:
                record.say(f"this resumption is not bit for bit: {', '.join(event['inexact'])}")
        case "step":
            record.progress("train", event["step"], event["target_step"], f"loss {event['loss']:.3f} nats/token")
        case "compile" if not event["ok"]:
            record.say(f"torch.compile does not work here; training is slower without it: {event['reason']}")
        case "spike":
            record.count("train-chunk", "steps_skipped")
            if record.stages["train-chunk"].counts["steps_skipped"] <= MOST_SPIKES_SAID:
                unit = " nats/token" if event["what"] == "loss" else ""
                record.say(
                    f"step {event['step']} is left out: its {event['what']} of {event['value']:.3g}{unit} is a spike, "
                    f"above {event['limit']:.3g}"
                )
        case "fell_back":
            record.count("train-chunk", "fell_back")
        case "damaged":
            record.say(f"{event['name']} is damaged ({event['reason']}); the newest whole one is taken")
        case "lineage":
            record.say(f"a new lineage starts: {event['reason']}")
        case "dropped":
            record.say(f"the chunk that was cut is dropped: {event['reason']}")
        case "anchor":
            record.say(
                f"the anchor set is drawn (version {event['version']}, {event['tokens']:,} of {event['val_tokens']:,} "
                f"held-out tokens): {event['reason']}"
            )
        case "kept":
            other = "it" if event["against"] == "served" else "the best one served so far"
            record.say(
                f"the published model of step {event['step']} stays: on the anchor set the new one costs "
                f"{event['difference']:.4f} bits/byte more than {other}, above the noise of {event['tolerance']:.4f}"
            )
        case "published":
            score = event["bits_per_byte"]
            figure = f"{score:.4f} bits/byte" if score is not None else str(event["note"])
            record.say(f"published {event['path']} ({event['candidate']}, {figure})")
