"""Stats: what there is, counted from the indexes and commit records, not from the files."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from tasks.corpus import Corpus
from tasks.frontier import Frontier
from tasks.layout import Layout
from tasks.processed import read_meta
from tasks.settings import SearchSettings
from tasks.state import open_state

MODEL_FIELDS = ("step", "bits_per_byte", "uniform_bits_per_byte", "anchor_bits_per_byte", "candidate")


def collect_stats(layout: Layout) -> dict[str, Any]:
    """The numbers of `run.py stats --json`; takes no lock and changes nothing that counts."""
    db = open_state(layout.database)
    try:
        corpus = Corpus(layout, db)
        documents = corpus.counts()
        urls = _url_counts(db)
    finally:
        db.close()
    meta = read_meta(layout)
    return {
        "documents": documents,
        "urls": urls,
        "tokens": {"train": meta.train_tokens if meta else 0, "val": meta.val_tokens if meta else 0},
        "model": published_model(layout),
        "disk": {"bytes": folder_bytes(layout.root)},
    }


def _url_counts(db: sqlite3.Connection) -> dict[str, int]:
    return Frontier(db, SearchSettings()).counts()


def published_model(layout: Layout) -> dict[str, Any]:
    """Step and scores of the model that is served; None where there is none yet."""
    try:
        record = json.loads((layout.models / "latest" / "miniature_memory.json").read_text())
    except (OSError, ValueError):
        record = {}
    return {name: record.get(name) for name in MODEL_FIELDS}


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def as_text(stats: dict[str, Any]) -> str:
    """The same numbers for a person."""
    documents, tokens, model = stats["documents"], stats["tokens"], stats["model"]
    lines = [
        f"documents  {documents['raw']:,} raw = {documents['kept']:,} kept + "
        f"{sum(documents['dropped'].values()):,} dropped + {documents['waiting']:,} waiting",
        *(f"           {number:>8,} {reason}" for reason, number in documents["dropped"].items()),
        f"           {documents['validation']:>8,} of the kept are held out",
        f"urls       {sum(stats['urls'].values()):,} known",
        *(f"           {number:>8,} {outcome}" for outcome, number in stats["urls"].items()),
        f"tokens     {tokens['train']:,} to train on, {tokens['val']:,} held out",
    ]
    if model["step"] is None:
        lines.append("model      none yet")
    else:
        score = "not scored yet" if model["bits_per_byte"] is None else f"{model['bits_per_byte']:.4f} bits/byte"
        if model["uniform_bits_per_byte"]:
            score += f" (a uniform guess: {model['uniform_bits_per_byte']:.4f})"
        lines.append(f"model      step {model['step']:,}, {score}")
    lines.append(f"disk       {stats['disk']['bytes'] / 1e6:,.1f} MB")
    return "\n".join(lines)
