"""Stats: what the dataset holds, counted from indexes and commit records, not from the texts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoints.divergence import read_rollbacks
from model.contracts.erasure_marks import count_marks, in_words
from model.data.document_table import DOCUMENT
from tasks.contracts.paths import Layout
from tasks.contracts.records import LOW_CONFIDENCE
from tasks.contracts.settings import SearchSettings
from tasks.raw.catalog import Catalog
from tasks.search.frontier import Frontier
from tasks.storage.atomic_files import read_json
from tasks.storage.state_db import open_state_to_read
from tasks.tokenize import token_files

if TYPE_CHECKING:  # it takes 50 MB, which a night that counts nothing is spared
    import pandas as pd

MODEL_FIELDS = (
    "bits_per_byte",
    "uniform_bits_per_byte",
    "anchor_bits_per_byte",
    "anchor_version",
    "oldest_bits_per_byte",
    "oldest_bits_per_byte_best",
    "candidate",
)
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
BINS_A_DECADE = 8
COPIES = ("duplicate_exact", "duplicate_near")
LONGEST_TABLE = 15


def collect_stats(layout: Layout) -> dict[str, Any]:
    """Returns the numbers of `run.py stats --json`; takes no lock and changes nothing that counts."""
    with closing(open_state_to_read(layout.database)) as db:
        catalog = Catalog(layout, db)
        documents, readings = catalog.counts(), catalog.readings.counts()
        urls = Frontier(db, SearchSettings()).counts()
        table = load_documents(layout, db)
    manifest = token_files.read_manifest(layout)
    return {
        "documents": documents,
        **readings,
        "urls": urls,
        "tokens": {"train": manifest.train_tokens if manifest else 0, "val": manifest.val_tokens if manifest else 0},
        "model": model_numbers(layout),
        "disk": {"bytes": sum(path.lstat().st_size for path in layout.root.rglob("*") if not path.is_dir())},
        **distributions(table),
    }


def load_documents(layout: Layout, db: sqlite3.Connection) -> pd.DataFrame:
    """Returns one row for each raw document: seq, day, site, language, outcome, bytes, kept_bytes, tokens."""
    import pandas as pd

    query = "SELECT seq, substr(fetched_at, 1, 10) AS day, site, language, outcome, bytes, kept_bytes FROM documents"
    table = pd.read_sql_query(query, db, index_col="seq")
    manifest = token_files.read_manifest(layout)
    rows = token_files.read_table(layout, manifest) if manifest else np.zeros(0, DOCUMENT)
    tokens = pd.Series(rows["length"].astype("int64"), index=rows["seq"].astype("int64"), dtype="Int64")
    return table.assign(tokens=tokens.reindex(table.index))


def distributions(table: pd.DataFrame) -> dict[str, Any]:
    """Returns growth by day, sites, languages, reasons, lengths and copies as plain numbers: all that a plot shows."""
    kept, settled = table[table["outcome"] == "kept"], table[table["outcome"].notna()]
    dropped = settled[settled["outcome"] != "kept"]
    copies = int(table["outcome"].isin(COPIES).sum())
    return {
        "days": _raw_and_kept(table, "day", largest=False),
        "sites": _raw_and_kept(table[table["site"] != ""], "site", largest=True),
        "languages": _plain(kept["language"].value_counts()),
        "reasons_by_day": {
            str(day): _plain(reasons.value_counts().sort_index()) for day, reasons in dropped.groupby("day")["outcome"]
        },
        "lengths": {"bytes": _quantiles(kept["kept_bytes"]), "tokens": _quantiles(kept["tokens"])},
        "histograms": {"bytes": _histogram(kept["kept_bytes"]), "tokens": _histogram(kept["tokens"])},
        "duplicates": {"documents": copies, "share": round(copies / len(settled), 4) if len(settled) else 0.0},
        "settled_by_day": _plain(settled.groupby("day").size()),
    }


def _plain(counts: pd.Series[Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in counts.items()}


def _histogram(values: pd.Series[Any]) -> dict[str, list[int]]:
    """Counts values between edges that never change, 8 for each decade: edges[i] <= value < edges[i + 1]."""
    numbers = values.dropna().to_numpy(dtype="int64").clip(min=1)
    if not len(numbers):
        return {"edges": [], "counts": []}
    steps = np.arange(BINS_A_DECADE * 12 + 1)
    edges = np.unique(np.round(10 ** (steps / BINS_A_DECADE)).astype("int64"))
    counts, _ = np.histogram(numbers, bins=edges)
    full = np.flatnonzero(counts)
    first, last = int(full[0]), int(full[-1]) + 1
    return {"edges": edges[first : last + 1].tolist(), "counts": counts[first:last].tolist()}


def _raw_and_kept(table: pd.DataFrame, by: str, largest: bool) -> dict[str, dict[str, int]]:
    groups = table.groupby(by).agg(raw=("bytes", "size"), kept=("kept_bytes", "count"), bytes=("kept_bytes", "sum"))
    groups = groups.sort_values(["raw"], ascending=False, kind="stable") if largest else groups.sort_index()
    return {str(name): _plain(row) for name, row in groups.iterrows()}


def _quantiles(values: pd.Series[Any]) -> dict[str, int]:
    values = values.dropna()
    return {f"p{100 * q:.0f}": int(values.quantile(q)) for q in QUANTILES} if len(values) else {}


def refused(layout: Layout, reason: str) -> list[dict[str, Any]]:
    """Returns the documents that ended for this reason, with its details, newest last."""
    with closing(open_state_to_read(layout.database)) as db:
        catalog = Catalog(layout, db)
        rows = db.execute("SELECT seq, path, detail FROM documents WHERE outcome = ? ORDER BY seq", (reason,))
        return [dict(row) | {"url": catalog.entry(row["seq"]).url} for row in rows.fetchall()]


def model_numbers(layout: Layout) -> dict[str, Any]:
    """Returns the newest step, and step and scores of the published model; None where there is none."""
    record = read_json(layout.models / "latest" / "miniature_memory.json") or {}
    steps = [path.parent.name.removeprefix("step_") for path in layout.checkpoints.glob("step_*/metadata.json")]
    trained = max((int(step) for step in steps if step.isdecimal()), default=record.get("step"))
    newest = read_json(layout.checkpoints / f"step_{trained}" / "metadata.json") or {}
    return {
        "step": trained,
        "published_step": record.get("step"),
        **{name: record.get(name) for name in MODEL_FIELDS},
        "forgotten": count_marks(record),
        "steps_skipped": newest.get("steps_skipped", 0),
        "falls": len(read_rollbacks(layout.checkpoints, [])),
    }


def as_text(stats: dict[str, Any]) -> str:
    """Returns the same numbers as text, for a person."""
    documents, tokens, copies = stats["documents"], stats["tokens"], stats["duplicates"]
    lines = [
        f"documents  {documents['raw']:,} raw = {documents['kept']:,} kept + "
        f"{sum(documents['dropped'].values()):,} dropped + {documents['waiting']:,} waiting",
        *_column(documents["dropped"]),
        f"           {documents['validation']:>8,} of the kept are held out",
        *_readings(stats["kinds"], stats["confidence"]),
        f"urls       {sum(stats['urls'].values()):,} known",
        *_column(stats["urls"]),
        f"tokens     {tokens['train']:,} to train on, {tokens['val']:,} held out",
        *_model(stats["model"]),
        f"disk       {stats['disk']['bytes'] / 1e6:,.1f} MB",
    ]
    lines += ["languages", *_column(stats["languages"])] if stats["languages"] else []
    for name in ("days", "sites"):
        lines += [f"{name:<11}     raw     kept  kept MB", *_groups(stats[name], newest=name == "days")]
    for name, values in stats["lengths"].items():
        if values:
            lines.append(f"{name:<10} " + ", ".join(f"{quantile} {value:,}" for quantile, value in values.items()))
    lines.append(f"copies     {copies['documents']:,} ({copies['share']:.1%} of the documents)")
    return "\n".join(lines)


def _readings(kinds: dict[str, int], confidence: dict[str, int]) -> list[str]:
    """Returns the documents by kind of page, and how many of them the extractor was not sure of."""
    lines = ["kinds", *_column(kinds)] if kinds else []
    if confidence["known"]:
        of = f"{confidence['low']:,} of {confidence['known']:,}"
        lines.append(f"unsure     {of} documents were read with a confidence below {LOW_CONFIDENCE}")
    return lines


def _model(model: dict[str, Any]) -> list[str]:
    if model["published_step"] is None:
        return ["model      none yet"]
    score = "not scored yet" if model["bits_per_byte"] is None else f"{model['bits_per_byte']:.4f} bits/byte"
    if model["uniform_bits_per_byte"]:
        score += f" (a uniform guess: {model['uniform_bits_per_byte']:.4f})"
    lines = [f"trained to step {model['step']:,}; published is step {model['published_step']:,}, {score}"]
    lines += in_words(model["forgotten"])
    if model["steps_skipped"] or model["falls"]:
        skipped = f"{model['steps_skipped']:,} steps left out as spikes"
        lines.append(f"{skipped}, {model['falls']:,} falls back to an earlier checkpoint")
    return [f"{'' if place else 'model':<11}{line}" for place, line in enumerate(lines)]


def _column(counts: dict[str, int]) -> list[str]:
    return [f"           {number:>8,} {name}" for name, number in list(counts.items())[:LONGEST_TABLE]]


def _groups(groups: dict[str, dict[str, int]], newest: bool) -> list[str]:
    shown = list(groups.items())
    shown = shown[-LONGEST_TABLE:] if newest else shown[:LONGEST_TABLE]
    return [f"           {g['raw']:>8,} {g['kept']:>8,} {g['bytes'] / 1e6:>8.2f} {name}" for name, g in shown]
