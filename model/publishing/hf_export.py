"""The published model: a folder that Hugging Face opens as it is, and our own record beside it.

`models/<step>/` is written under a temporary name, synced and renamed; then the link `models/latest` is
replaced in one step, so that a reader finds the old model or the new one, whole.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from model.contracts.atomic_files import sync
from model.contracts.erasure_marks import LATEST, model_card, read_metadata
from model.contracts.published_folder import CARD, RECORD, whole_record, with_digests
from model.contracts.step_folders import model_folders
from model.data.digests import as_json
from model.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, published_tokenizer
from model.network.config import GPTConfig
from model.network.gpt import GPT
from model.publishing.hf_config import PREFIX, WEIGHTS, hugging_face_config, read_config, without_prefix


def publish(
    models_dir: Path,
    step: int,
    config: GPTConfig,
    weights: dict[str, Tensor],
    tokenizer_path: Path,
    record: dict[str, Any],
    keep: int = 3,
) -> Path:
    """Writes `models/<step>/` and makes it `latest`. Returns the folder. `record` becomes
    `miniature_memory.json`."""
    models_dir.mkdir(parents=True, exist_ok=True)
    for leftover in models_dir.glob(".*.tmp"):  # of a publication that was killed
        leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover)
    temporary = models_dir / f".{step}.tmp"
    temporary.mkdir()
    tensors = {f"{PREFIX}{name}": value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
    (temporary / "tokenizer.json").write_text(published_tokenizer(tokenizer_path), encoding="utf-8")
    documents: dict[str, dict[str, Any]] = {
        "config.json": hugging_face_config(config),
        "tokenizer_config.json": {
            # without this class transformers rebuilds the tokenizer by model type, and gives other ids
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "pad_token": END_OF_TEXT,
            "padding_side": "left",  # a batch goes on where its texts end
            "clean_up_tokenization_spaces": False,
            "model_max_length": config.block_size,
        },
        "generation_config.json": {
            "bos_token_id": END_OF_TEXT_ID,
            "eos_token_id": END_OF_TEXT_ID,
            "pad_token_id": END_OF_TEXT_ID,
            "do_sample": True,
            "temperature": 0.8,
            "top_k": 50,
        },
    }
    for name, document in documents.items():
        (temporary / name).write_text(as_json(document), encoding="utf-8")
    if record.get("forgotten"):
        (temporary / CARD).write_text(model_card(record | {"step": step}), encoding="utf-8")
    (temporary / RECORD).write_text(with_digests(temporary, record | {"step": step}), encoding="utf-8")
    for path in temporary.iterdir():
        sync(path)
    sync(temporary)

    target = models_dir / str(step)
    aside = models_dir / f".{step}.replaced.tmp"
    if target.exists():  # a step reached again after a rollback to an older checkpoint
        os.rename(target, aside)
    os.rename(temporary, target)
    shutil.rmtree(aside, ignore_errors=True)
    link = models_dir / f".{LATEST}.tmp"
    os.symlink(target.name, link)
    os.replace(link, models_dir / LATEST)
    sync(models_dir)
    prune_models(models_dir, keep)
    return target


def published(models_dir: Path) -> dict[str, Any] | None:
    """Returns the record of the model that `latest` points to, with its folder as `path`; None where there is
    none."""
    folder = models_dir / LATEST
    record = read_metadata(folder / RECORD)
    return None if record is None else record | {"path": str(folder.resolve())}


def load_published(folder: Path) -> GPT:
    """Opens our own network from a published folder; ValueError where it is not whole, to the byte."""
    try:
        whole_record(folder)
        model = GPT(read_config(folder))
        model.load_state_dict(without_prefix(load_file(folder / WEIGHTS)))
    except Exception as error:  # safetensors has its own exception, torch raises RuntimeError
        raise ValueError(f"{folder} is not a whole published model: {error}") from error
    return model.eval()


def prune_models(models_dir: Path, keep: int) -> None:
    """Removes all but the `keep` newest models and the one that `latest` points to."""
    latest = (models_dir / LATEST).resolve().name
    for folder in list(model_folders(models_dir).values())[:-keep]:
        if folder.name != latest:
            shutil.rmtree(folder)


def remove_models(models_dir: Path) -> None:
    """Removes every published model of a lineage that ends."""
    for name in (LATEST, "anchor.json"):
        (models_dir / name).unlink(missing_ok=True)
    for folder in model_folders(models_dir).values():
        shutil.rmtree(folder)
