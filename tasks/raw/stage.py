"""Store: extracted documents become raw files and ledger lines, which never change again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.contracts.records import Document, Dropped, Extracted
from tasks.raw.catalog import Catalog


def hold_back_known_bodies(results: Sequence[Extracted], catalog: Catalog) -> list[Extracted]:
    """Drops as `reextractable` what comes from a body whose text is stored, and only the extractor reads otherwise."""
    return [_hold_back(result, catalog) for result in results]


def _hold_back(result: Extracted, catalog: Catalog) -> Extracted:
    document = result.document
    if document is None or catalog.has(document.url, document.sha256):
        return result
    seq = catalog.readings.of_body(document.url, document.body_sha256)
    if seq is None:
        return result
    before = catalog.entry(seq).extractor
    why = f"the same body as document {seq}, by {before}; {document.extractor} reads it otherwise"
    return replace(result, document=None, dropped=Dropped("raw", "reextractable", why))


def store(results: Sequence[Extracted], catalog: Catalog, validation_fraction: float) -> list[str]:
    """Append what is new to raw/ and its ledger, in the order given; when this returns, it is durable.

    Returns:
        For each result `stored`, `unchanged` (this very text of this page is there), `forgotten`, or why it was
        dropped.
    """
    outcomes: list[str] = []
    new: dict[tuple[str, str], Document] = {}
    for result in results:
        document = result.document
        if document is None:
            outcomes.append(result.dropped.reason if result.dropped else "unchanged")
        elif (document.url, document.sha256) in new or catalog.has(document.url, document.sha256):
            catalog.readings.note_body(document)
            outcomes.append("unchanged")
        elif catalog.is_forgotten((document.url, document.final_url), document.sha256):
            outcomes.append("forgotten")
        else:
            new[document.url, document.sha256] = document
            outcomes.append("stored")
    if new:
        catalog.ledger().append(list(new.values()), validation_fraction)
        catalog.index_new()
    return outcomes
