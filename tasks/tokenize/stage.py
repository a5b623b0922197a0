"""tokenize: kept texts become ids, and `token_files.append` adds them to `train.bin` and `val.bin` in ledger order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.data.tokenizer import END_OF_TEXT_ID
from tasks.contracts.paths import Layout
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.token_files import Manifest, generation_of
from tasks.tokenize.tokenizer_record import read_tokenizer_record

Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class KeptText:
    """A document that was kept: its ledger number, its split and its cleaned text."""

    seq: int
    split: str  # train or validation
    text: str


def tokenize(documents: Sequence[KeptText], encoder: Encoder, append: Callable[[list[Ids]], Manifest]) -> Manifest:
    """Turn texts into ids, with the end-of-text token behind each. Returns the new commit record.

    Args:
        append: writes the ids of these documents, (n,) each. Within the stage, so that whoever repeats a stage after a
            fault repeats its writing.
    """
    return append([np.append(ids, np.uint16(END_OF_TEXT_ID)) for ids in encoder.encode(one.text for one in documents)])


def open_processed(layout: Layout, rules: str, forgotten: str) -> Manifest | None:
    """Returns the commit record to append to, or None while there is no tokenizer.

    Token files of another generation are removed first.

    Args:
        rules: digest of what decides the texts.
        forgotten: digest of which documents are forgotten.
    """
    record = read_tokenizer_record(layout)
    if record is None:
        return None
    generation = generation_of(rules, record.sha256, forgotten)
    manifest = token_files.read_manifest(layout)
    if manifest is not None and manifest.generation == generation:
        return manifest
    token_files.reset(layout)
    return Manifest(generation, rules, record.sha256, record.vocab_size, 0, 0, 0, 0)
