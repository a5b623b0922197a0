"""Grow a corpus the way a night does, without web, browser or Prefect, for the tests of the data stages.

python -m tests.support.growth DATA FIRST COUNT BATCH WORKERS MIN_WORDS    one increment in a process that can be killed
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flows.add import add_unregistered
from tasks.clean.stage import clean
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.records import Document
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import CleanSettings, Settings, TokenizeSettings
from tasks.dedup.stage import dedup
from tasks.derive.derivation import Derivation
from tasks.derive.rebuild import rebuild
from tasks.raw import ledger
from tasks.storage.state_db import open_state_or_set_aside
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed, tokenize
from tasks.tokenize.tokenizer_record import prepare_tokenizer
from tests.support.corpora import mixed


def settings(batch: int = 7, freeze_bytes: int = 20_000, **clean: Any) -> Settings:
    return Settings(
        clean=CleanSettings(batch=batch, **clean),
        tokenize=TokenizeSettings(vocab_size=400, freeze_bytes=freeze_bytes, batch=batch),
    )


def grow(layout: Layout, documents: Sequence[Document], chosen: Settings, stop_after: int | None = None) -> list[str]:
    """One increment: mend, store, clean, dedup, tokenize. `stop_after` leaves after so many commits, as a kill would.

    Documents that are stored already are not stored again. Returns what was said.
    """
    said = ledger.recover(layout) + token_files.recover(layout)
    db, damaged = open_state_or_set_aside(layout.database)
    said += [damaged] if damaged else []
    left = stop_after if stop_after is not None else 10**9
    try:
        derivation = Derivation(chosen, layout, db)
        derivation.catalog.index_new()
        new = [one for one in documents if not derivation.catalog.has(one.url, one.sha256)]
        if new:
            derivation.catalog.ledger().append(new, 0.1)
            derivation.catalog.index_new()
        said += [message] if (message := derivation.apply_rules()) else []
        while left > 0 and (batch := derivation.next_batch()):
            cleaned = clean(batch, chosen.clean, derivation.site_lines)
            commit = partial(derivation.commit, batch)
            dedup(cleaned, derivation.index, chosen.dedup.min_jaccard, derivation.pool, commit)
            left -= 1
        if left > 0:
            said += prepare_tokenizer(layout, derivation.catalog, chosen.tokenize)
            _tokenize(layout, derivation, left)
        derivation.close()
    finally:
        db.close()
    return said


def _tokenize(layout: Layout, derivation: Derivation, left: int) -> None:
    manifest = open_processed(layout, derivation.rules, derivation.catalog.digest_of_forgotten())
    if manifest is None:
        return
    encoder = Encoder(layout.tokenizer)
    while left > 0 and (documents := derivation.next_kept(manifest.next_seq)):
        manifest = tokenize(documents, encoder, partial(token_files.append, layout, manifest, documents))
        left -= 1


def derived_bytes(root: Path) -> dict[str, bytes]:
    """Every file of `cleaned/` and `processed/`, by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in ("cleaned", "processed")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def rebuilt_bytes(layout: Layout, target: Path, chosen: Settings) -> dict[str, bytes]:
    rebuild(chosen, layout, target)
    return derived_bytes(target)


def main(data: str, first: int, count: int, batch: int, workers: int, min_words: int) -> None:
    """Files that were dropped under `raw/` get their lines, then so many documents of `mixed` are new."""
    layout, chosen = find_data_directory(data), settings(batch, workers=workers, min_words=min_words)
    print("begins", flush=True)
    add_unregistered(chosen, layout, Silent())
    grow(layout, [mixed(seed) for seed in range(first, first + count)], chosen)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
