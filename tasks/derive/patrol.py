"""Patrol: each night reads a bounded part of what is derived back, in turn, so that decay is found before it is needed.

What is damaged is raised as what it is when a stage reads it, and derived again in the same way.
"""

from __future__ import annotations

from model.data.commit_record import TokensDamagedError, find_committed
from model.data.digests import blocks
from tasks.contracts.errors import ProcessedDamagedError
from tasks.contracts.paths import Layout, read_cleaned
from tasks.derive.derivation import Derivation
from tasks.storage.state_db import transaction
from tasks.tokenize import token_files

TEXTS = 500  # of cleaned/, a night
MEGABYTES = 16  # of each file that grows


def patrol_cleaned(derivation: Derivation) -> None:
    """Read the next cleaned texts and the next megabytes of the dedup index back. Raises DerivedDamagedError."""
    catalog = derivation.catalog
    since = catalog.position("patrolled_texts")
    texts = catalog.kept(since, TEXTS) or catalog.kept(0, TEXTS)
    for row in texts:
        read_cleaned(derivation.layout, row["path"], row["cleaned_sha256"])
    turn = catalog.position("patrolled_index")
    most = derivation.index.check_part(turn, MEGABYTES)
    if texts and not (len(texts) < TEXTS and since == 0 and most <= MEGABYTES):  # else it begins at 0 every night
        with transaction(derivation.db):
            catalog.set_position("patrolled_texts", texts[-1]["seq"] + 1)
            catalog.set_position("patrolled_index", turn + MEGABYTES if turn + MEGABYTES < most else 0)


def patrol_processed(derivation: Derivation) -> None:
    """Read the next megabytes of each token file back. Raises ProcessedDamagedError."""
    layout, catalog = derivation.layout, derivation.catalog
    turn = catalog.position("patrolled_tokens")
    most = _check_part(layout, turn)
    if most > MEGABYTES:
        with transaction(derivation.db):
            catalog.set_position("patrolled_tokens", turn + MEGABYTES if turn + MEGABYTES < most else 0)


def _check_part(layout: Layout, first: int) -> int:
    """Returns the number of megabytes of the longest file."""
    manifest, most = token_files.read_manifest(layout), 0
    try:
        for path in token_files.committed_sizes(layout, manifest) if manifest else ():
            if committed := find_committed(path):
                number = blocks(committed.size)
                for block in range(first, min(first + MEGABYTES, number)):
                    committed.check(block)
                most = max(most, number)
    except (TokensDamagedError, OSError) as error:
        raise ProcessedDamagedError(f"{error}; a night derives it again from cleaned/") from error
    return most
