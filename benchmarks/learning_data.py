"""nanoGPT's prepared data folder, as it is: train.bin, val.bin and, where the tokens are characters, meta.pkl."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GPT2_VOCABULARY = 50257
GPT2_LIKELY = 30000
"""Ids above this, and no meta.pkl: taken for GPT-2's, which nanoGPT's prepare.py writes."""


@dataclass(frozen=True)
class PreparedData:
    train: NDArray[np.uint16]
    val: NDArray[np.uint16]
    vocab_size: int
    token_bytes: NDArray[np.int64]
    """Bytes of text of each id; 1 where nobody knows."""
    bytes_known: bool


class _Plain(pickle.Unpickler):
    """Of a pickle, dictionaries, strings and numbers: never a class, so never code."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"meta.pkl names {module}.{name}: not nanoGPT's")


def open_data(folder: Path) -> PreparedData:
    """ValueError where the folder is not nanoGPT's."""
    for name in ("train.bin", "val.bin"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: run nanoGPT's data/*/prepare.py first")
    train, val = (np.memmap(folder / name, dtype="<u2", mode="r") for name in ("train.bin", "val.bin"))
    largest = int(max(train.max(), val.max()))
    meta = read_meta(folder / "meta.pkl")
    vocab_size = int(meta.get("vocab_size", 0)) or (GPT2_VOCABULARY if largest >= GPT2_LIKELY else largest + 1)
    sizes = bytes_of_tokens(meta, vocab_size, folder)
    known = sizes is not None
    return PreparedData(train, val, vocab_size, np.ones(vocab_size, np.int64) if sizes is None else sizes, known)


def read_meta(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with path.open("rb") as file:
        meta = _Plain(file).load()
    return meta if isinstance(meta, dict) else {}


def bytes_of_tokens(meta: dict[str, Any], vocab_size: int, folder: Path) -> NDArray[np.int64] | None:
    """Of meta.pkl's characters, of a tokenizer.json beside the data, or of GPT-2's tokens; None where nobody knows.

    Special tokens count no bytes, as in `model.publishing.evaluate`.
    """
    characters = meta.get("itos")
    if isinstance(characters, dict) and all(isinstance(one, str) for one in characters.values()):
        return np.array([len(characters.get(i, "").encode()) for i in range(vocab_size)], dtype=np.int64)
    tokenizer = folder / "tokenizer.json"
    if tokenizer.exists():
        from model.data.tokenizer import load_tokenizer, token_bytes

        return token_bytes(load_tokenizer(tokenizer))
    if vocab_size == GPT2_VOCABULARY:
        try:
            encoding = importlib.import_module("tiktoken").get_encoding("gpt2")
        except Exception:  # its table is fetched from the network
            return None
        return np.array(
            [0 if i == encoding.eot_token else len(encoding.decode_single_token_bytes(i)) for i in range(vocab_size)]
        )
    return None
