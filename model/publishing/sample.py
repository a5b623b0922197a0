"""Text from a model, token by token. Needs no torch, whose import takes longer than a page of text."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from model.contracts.published_folder import whole_record
from model.data.tokenizer import END_OF_TEXT_ID, token_texts
from model.network.decoder import Array, Decoder
from model.publishing.hf_config import WEIGHTS, read_config, without_prefix


@dataclass(frozen=True)
class Sampling:
    """How text is written. Raises ValueError, naming the field, for what cannot be done."""

    max_tokens: int = 100
    temperature: float = 0.8
    """0 takes the likeliest token."""
    top_k: int = 50
    """Choose among this many tokens."""
    seed: int = 0
    """Same seed, same text."""
    ignore_end: bool = False
    """Never choose the end of a document, so that exactly `max_tokens` tokens are written."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be a number of at least 0, not {self.temperature}")
        for name, least in (("max_tokens", 0), ("top_k", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")


def load_decoder(folder: Path) -> Decoder:
    """Opens a published folder for sampling; ValueError where it is not whole, to the byte."""
    try:
        whole_record(folder)
        return Decoder(read_config(folder), without_prefix(load_file(folder / WEIGHTS)))
    except Exception as error:  # safetensors has its own exception
        raise ValueError(f"{folder} is not a whole published model: {error}") from error


def sample(decoder: Decoder, tokenizer: Tokenizer, prompt: str, how: Sampling) -> Iterator[str]:
    """Yields the prompt, then what the model writes, each piece as soon as its characters are whole.

    A text begins with the begin-of-text token, as each document does in training. It ends early at the end of a
    document. What no longer fits into the block is cut as `context_start` says.
    """
    yield prompt
    tokenizer.encode_special_tokens = True
    ids = [END_OF_TEXT_ID, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    texts, characters = token_texts(tokenizer), codecs.getincrementaldecoder("utf-8")("replace")
    generator = np.random.default_rng(how.seed)
    for _ in range(how.max_tokens):
        token = _choose(decoder.logits(ids), how, generator)
        if token == END_OF_TEXT_ID:
            break
        ids.append(token)
        if piece := characters.decode(texts[token]):
            yield piece
    yield characters.decode(b"", final=True)


def _choose(logits: Array, how: Sampling, generator: np.random.Generator) -> int:
    if how.ignore_end:
        logits[END_OF_TEXT_ID] = -np.inf
    if how.temperature == 0:
        return int(logits.argmax())
    best = np.argpartition(logits, -min(how.top_k, len(logits)))[-how.top_k :]
    best.sort()  # in whatever order a processor finds them
    scores = logits[best].astype(np.float64)
    shares = np.exp((scores - scores.max()) / how.temperature)
    return int(generator.choice(best, p=shares / shares.sum()))
