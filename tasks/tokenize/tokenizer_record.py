"""The tokenizer and its commit record, `raw/tokenizer.meta.json`.

The tokenizer is truth, not derived: it is trained on the first night, once more when 2 MB of text are kept,
and then frozen for ever, since every id in every model rests on it. Until then it is provisional, and so is
the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from model.data.tokenizer import tokenizer_digest, train_tokenizer
from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.contracts.settings import TokenizeSettings
from tasks.raw.catalog import Catalog
from tasks.storage.atomic_files import write_atomically, write_json


@dataclass(frozen=True, slots=True)
class TokenizerRecord:
    """`raw/tokenizer.meta.json`: the commit record of `raw/tokenizer.json`."""

    sha256: str
    vocab_size: int
    frozen: bool
    trained_on_documents: int
    trained_on_bytes: int


def read_tokenizer_record(layout: Layout) -> TokenizerRecord | None:
    """The record, or None where no tokenizer was committed yet.

    Raises:
        TruthDamagedError: the frozen tokenizer is missing or another one.
    """
    if not layout.tokenizer_record.exists():
        return None
    try:
        record = TokenizerRecord(**json.loads(layout.tokenizer_record.read_text()))
    except (ValueError, TypeError) as error:
        raise TruthDamagedError(
            f"{layout.tokenizer_record} is damaged ({error}). Restore raw/ from your backup."
        ) from error
    if layout.tokenizer.exists() and tokenizer_digest(layout.tokenizer) == record.sha256:
        return record
    if record.frozen:
        raise TruthDamagedError(
            f"{layout.tokenizer} is missing or is not the frozen tokenizer (sha256 {record.sha256[:12]}...). "
            "Restore raw/ from your backup: every token file and model rests on it."
        )
    return None  # cut between the tokenizer and its record while provisional: trained again


def prepare_tokenizer(layout: Layout, catalog: Catalog, settings: TokenizeSettings) -> list[str]:
    """Train the tokenizer where there is none, or freeze it once enough text is kept. Says what it did."""
    record = read_tokenizer_record(layout)
    if record is not None and record.frozen:
        return []
    available = catalog.kept_bytes()
    if available == 0 or (record is not None and available < settings.freeze_bytes):
        return []
    texts = _Texts(layout, catalog, settings.freeze_bytes)
    tokenizer = train_tokenizer(texts, settings.vocab_size)
    frozen = available >= settings.freeze_bytes
    write_atomically(layout.tokenizer, tokenizer.to_str().encode(), mode=0o444)
    record = TokenizerRecord(
        tokenizer_digest(layout.tokenizer), tokenizer.get_vocab_size(), frozen, texts.documents, texts.bytes
    )
    write_json(layout.tokenizer_record, asdict(record))
    state = "frozen for ever" if frozen else f"provisional until {settings.freeze_bytes / 1e6:g} MB of text are kept"
    return [f"tokenizer of {record.vocab_size} ids trained on {texts.bytes / 1e6:.2f} MB: {state}"]


class _Texts:
    """Kept texts in ledger order, up to `limit` bytes: how a night was cut never shows in the tokenizer."""

    def __init__(self, layout: Layout, catalog: Catalog, limit: int) -> None:
        self.layout, self.catalog, self.limit = layout, catalog, limit
        self.documents = self.bytes = 0

    def __iter__(self) -> Iterator[str]:
        seq = 0
        while rows := self.catalog.kept(seq, 200):
            for row in rows:
                if self.bytes >= self.limit:
                    return
                self.documents += 1
                self.bytes += row["kept_bytes"]
                yield read_cleaned(self.layout, row["path"], row["cleaned_sha256"])
            seq = rows[-1]["seq"] + 1
