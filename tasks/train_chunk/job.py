"""What a chunk is asked to do: the settings, on what is committed now, in the shape that the lineage has."""

from __future__ import annotations

from dataclasses import asdict

from model.contracts.erasure_marks import read_metadata
from model.contracts.job import Chunk, TrainJob
from model.contracts.step_folders import checkpoint_folders
from tasks.contracts.errors import NothingToTrainError, SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.settings import TrainSettings
from tasks.tokenize.token_files import Manifest

SHAPE = ("block_size", "n_layer", "n_head", "n_kv_head", "n_embd")


def make_job(layout: Layout, meta: Manifest, provisional: bool, settings: TrainSettings) -> tuple[TrainJob, list[str]]:
    """Returns the chunk that these settings ask for, and what has to be said about it.

    Every setting is a field of `TrainJob`, and its name is the same but for two. The shape belongs to the lineage: a
    model is never started over because a profile asks for another one.

    Raises:
        NothingToTrainError: fewer tokens than one window.
    """
    if meta.train_tokens <= settings.block_size:
        raise NothingToTrainError(
            f"nothing to train on yet: {meta.train_tokens} tokens are prepared, {settings.block_size + 1} are needed. "
            "Collect pages (python run.py collect) or add your own text (python run.py add PATH)."
        )
    wanted, settled = asdict(settings), _settled_shape(layout)
    messages = []
    if other := [f"{name} {wanted[name]}" for name in settled if settled[name] != wanted[name]]:
        messages.append(
            f"the model keeps the shape it began with; the profile's {', '.join(other)} needs a new lineage: "
            f"move {layout.checkpoints} and {layout.models} aside for one"
        )
    seconds, minutes = wanted.pop("checkpoint_seconds"), settings.minutes or None
    wanted |= settled | {"checkpoint_every_seconds": seconds, "minutes": minutes}
    try:
        job = TrainJob(
            processed_dir=layout.processed,
            checkpoints_dir=layout.checkpoints,
            models_dir=layout.models,
            tokenizer_path=layout.tokenizer,
            tokenizer_provisional=provisional,
            generation=meta.generation,
            rules=meta.rules,
            train_tokens=meta.train_tokens,
            val_tokens=meta.val_tokens,
            documents=meta.next_seq,
            **wanted,
        )
    except ValueError as error:
        raise SettingsError(f"train: {error}") from error
    return job, messages


def covers(meta: Manifest, chunk: Chunk) -> bool:
    """Returns whether the token files hold all that a chunk was begun with."""
    return all(getattr(meta, name) >= int(chunk.recipe[name]) for name in ("train_tokens", "val_tokens"))


def _settled_shape(layout: Layout) -> dict[str, int]:
    """Returns the shape of the newest checkpoint whose record can be read; empty where there is none."""
    for folder in reversed(checkpoint_folders(layout.checkpoints).values()):
        try:
            config = (read_metadata(folder / "metadata.json") or {})["config"]
            return {name: int(config[name]) for name in SHAPE}
        except (ValueError, KeyError):
            continue  # damaged: the trainer names it and falls back likewise
    return {}
