"""Rebuild: clean, dedup and tokenize everything that is not yet, by the same stages as a night, here or elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from tasks.clean.stage import clean
from tasks.contracts.errors import DataDirectoryError
from tasks.contracts.paths import Layout
from tasks.contracts.settings import Settings
from tasks.dedup.stage import dedup
from tasks.derive.derivation import Derivation
from tasks.storage.state_db import open_state
from tasks.tokenize import token_files
from tasks.tokenize.encoder import Encoder
from tasks.tokenize.stage import open_processed, tokenize
from tasks.tokenize.token_files import Manifest

Progress = Callable[[int, int], None]


def rebuild(settings: Settings, truth: Layout, target: Path) -> Manifest | None:
    """Derive `cleaned/` and `processed/` from truth alone into an empty folder.

    Returns:
        The commit record of the new `processed/`, or None where there is no tokenizer or nothing was kept.

    Raises:
        DataDirectoryError: the folder is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise DataDirectoryError(f"{target} is not empty: give rebuild --to a new folder.")
    layout = Layout(target.resolve(), truth=truth.raw)
    layout.state.mkdir(parents=True)
    try:
        with closing(open_state(layout.database)) as db, closing(Derivation(settings, layout, db)) as derivation:
            derivation.catalog.index_new()
            derivation.apply_rules()
            return derive_all(derivation)
    finally:
        shutil.rmtree(layout.state)


def derive_all(derivation: Derivation, progress: Progress = lambda done, of: None) -> Manifest | None:
    """Clean, compare and tokenize all that is not yet, with the tokenizer that is there.

    Returns:
        The commit record of `processed/`, or None where there is no tokenizer.
    """
    compare_all(derivation, progress)
    return tokenize_all(derivation)


def compare_all(derivation: Derivation, progress: Progress = lambda done, of: None) -> None:
    """Clean and compare all that is not yet."""
    settings, catalog = derivation.settings, derivation.catalog
    while batch := derivation.next_batch():
        cleaned = clean(batch, settings.clean, derivation.site_lines)
        commit = partial(derivation.commit, batch)
        dedup(cleaned, derivation.index, settings.dedup.min_jaccard, derivation.pool, commit)
        progress(catalog.position("cleaned"), catalog.position("ledger_lines"))


def tokenize_all(derivation: Derivation) -> Manifest | None:
    layout = derivation.layout
    manifest = open_processed(layout, derivation.rules, derivation.catalog.digest_of_forgotten())
    if manifest is None:
        return None
    encoder = Encoder(layout.tokenizer)
    while documents := derivation.next_kept(manifest.next_seq):
        manifest = tokenize(documents, encoder, partial(token_files.append, layout, manifest, documents))
    return manifest
