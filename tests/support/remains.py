"""What must be nowhere once it is forgotten, and where it still is."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from model.data.tokenizer import encode_documents, load_tokenizer
from tasks.contracts.paths import Layout
from tasks.contracts.records import Document


def sentences(text: str, words: int = 6) -> list[str]:
    """Those long enough to be told from chance."""
    found = (one.strip() for one in re.split(r"[.\n]+", text))
    return [one for one in found if len(one.split()) >= words]


def secrets_of(documents: Iterable[Document]) -> set[str]:
    """Sentences, addresses and titles."""
    found = set()
    for one in documents:
        found |= {*sentences(one.text), one.url, one.final_url, one.title or one.url}
    return found


def places(root: Path, secrets: Iterable[str]) -> list[str]:
    """Every file below a folder that holds one: as UTF-8, JSON-escaped, compressed, or in its own name."""
    forms = [(one, form) for one in secrets for form in {one.encode(), json.dumps(one)[1:-1].encode()}]
    found = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root)).encode()
        for content in [name, *(_contents(path) if path.is_file() else ())]:
            found += [f"{one!r} in {path}" for one, form in forms if form in content]
    return found


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if path.suffix == ".parquet":
        yield json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False).encode()


def tokens_left(layout: Layout, texts: Iterable[str]) -> list[str]:
    """The sentences whose ids stand in the token files. At the edges a sentence may be cut into other ids."""
    tokenizer = load_tokenizer(layout.tokenizer)
    wanted = [one for text in texts for one in sentences(text, words=10)]
    files = [
        np.fromfile(path, "<u2").tobytes() for path in layout.processed.glob("*.bin") if path.name != "documents.bin"
    ]
    left = []
    for text, ids in zip(wanted, encode_documents(tokenizer, wanted), strict=True):
        inner = ids[2:-2].astype("<u2").tobytes()
        left += [text for file in files if _at_a_token(file, inner)]
    return left


def _at_a_token(file: bytes, ids: bytes) -> bool:
    place = file.find(ids)
    while place % 2:
        place = file.find(ids, place + 1)
        if place < 0:
            break
    return place >= 0
