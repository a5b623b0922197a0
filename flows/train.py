"""Train: resume, train a bounded chunk, evaluate, publish; all in a child process that gives its memory back."""

from __future__ import annotations

from flows.grow import tokenize_new
from model.contracts.job import pending_chunk
from tasks.contracts.errors import NothingToTrainError, ProcessedDamagedError
from tasks.run_context import RunContext
from tasks.stages import Stages
from tasks.tokenize import token_files
from tasks.tokenize.token_files import read_manifest
from tasks.tokenize.tokenizer_record import read_tokenizer_record
from tasks.train_chunk.events import describe
from tasks.train_chunk.job import covers, make_job


def finish_cut_chunk(run: RunContext, stages: Stages) -> None:
    """A chunk that was cut comes first, on its own data, before anything new is collected or rebuilt."""
    chunk, meta = pending_chunk(run.layout.checkpoints), read_manifest(run.layout)
    # While the token files are made anew, its data is not there: then it waits until they are.
    if chunk and meta and meta.generation == chunk.generation and covers(meta, chunk):
        run.record.say(f"a chunk was cut: finishing steps {chunk.start_step} to {chunk.target_step} first")
        try:
            _train(run, stages)
        except ProcessedDamagedError as error:  # then it waits, too
            _discard_tokens(run, error)


def train_and_publish(run: RunContext, stages: Stages) -> None:
    """One chunk from the latest whole checkpoint; the model that comes out is published if it is no worse."""
    try:
        _train(run, stages)
    except ProcessedDamagedError as error:
        _discard_tokens(run, error)
        tokenize_new(run, stages)
        _train(run, stages)


def _discard_tokens(run: RunContext, error: ProcessedDamagedError) -> None:
    token_files.reset(run.layout)
    run.record.say(f"mended: {error}: processed/ is derived again from cleaned/")


def _train(run: RunContext, stages: Stages) -> None:
    layout, record = run.layout, run.record
    meta, tokenizer = read_manifest(layout), read_tokenizer_record(layout)
    if meta is None or tokenizer is None:
        raise NothingToTrainError(
            "nothing to train on yet: no text has been prepared. "
            "Collect pages (python run.py collect) or add your own text (python run.py add PATH)."
        )
    job, messages = make_job(layout, meta, not tokenizer.frozen, run.settings.train)
    for message in messages:
        record.say(message)
    with record.stage("train-chunk"):
        done = stages.train_chunk(job, layout, run.lock_handle, lambda event: describe(event, record))
    record.training = {**done, "vocab_size": tokenizer.vocab_size}
