"""Train: resume, train a bounded chunk, evaluate, publish; all in a child process that gives its memory back."""

from __future__ import annotations

from model.contracts.job import pending_chunk
from tasks.contracts.errors import NothingToTrainError
from tasks.run_context import RunContext
from tasks.stages import Stages
from tasks.tokenize.stage import read_tokenizer_record
from tasks.tokenize.token_files import read_manifest
from tasks.train_chunk.events import describe
from tasks.train_chunk.job import covers, make_job


def finish_cut_chunk(night: RunContext, stages: Stages) -> None:
    """A chunk that was cut comes first, on its own data, before anything new is collected or rebuilt."""
    chunk, meta = pending_chunk(night.layout.checkpoints), read_manifest(night.layout)
    # While the token files are made anew, its data is not there: then it waits until they are.
    if chunk and meta and meta.generation == chunk.generation and covers(meta, chunk):
        night.record.say(f"a chunk was cut: finishing steps {chunk.start_step} to {chunk.target_step} first")
        train_and_publish(night, stages)


def train_and_publish(night: RunContext, stages: Stages) -> None:
    """One chunk from the latest whole checkpoint; the model that comes out is published if it is no worse."""
    layout, record = night.layout, night.record
    meta, tokenizer = read_manifest(layout), read_tokenizer_record(layout)
    if meta is None or tokenizer is None:
        raise NothingToTrainError(
            "nothing to train on yet: no text has been prepared. "
            "Collect pages (python run.py collect) or add your own text (python run.py add PATH)."
        )
    job, messages = make_job(layout, meta, not tokenizer.frozen, night.settings.train)
    for message in messages:
        record.say(message)
    with record.stage("train-chunk"):
        done = stages.train_chunk(night, job, lambda event: describe(event, record))
    record.training = {**done, "vocab_size": tokenizer.vocab_size}
