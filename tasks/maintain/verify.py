"""Verify: compares everything on disk with its records. Reads the whole corpus; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from model.data.document_table import TABLE
from tasks.contracts.paths import Layout
from tasks.raw.catalog import Catalog
from tasks.raw.ledger import read_entries
from tasks.raw.validate import check_file, find_unregistered
from tasks.tokenize import token_files
from tasks.tokenize.tokenizer_record import read_tokenizer_record


def verify(layout: Layout, catalog: Catalog) -> Iterator[str]:
    """Yields each problem found, as a sentence that names the file."""
    registered = set()
    for entry, _ in read_entries(layout.ledger):
        if entry.forgotten:
            continue
        registered.add(entry.path)
        if problem := check_file(layout.raw / entry.path, entry.sha256):
            yield f"{layout.raw / entry.path} {problem}"
    for path in find_unregistered(layout, registered):
        yield f"{path} has no line in the ledger: take it in with python run.py validate --scan"
    yield from _verify_cleaned(layout, catalog)
    yield from _verify_processed(layout, catalog)


def _verify_cleaned(layout: Layout, catalog: Catalog) -> Iterator[str]:
    kept = "SELECT path, kept_bytes FROM documents WHERE outcome = 'kept' ORDER BY seq"
    for name, expected in catalog.db.execute(kept):
        path = layout.cleaned / name
        size = path.stat().st_size if path.exists() else -1
        if size != expected:
            yield f"{path} has {max(size, 0)} of {expected} bytes: see python run.py rebuild"


def _verify_processed(layout: Layout, catalog: Catalog) -> Iterator[str]:
    record, manifest = read_tokenizer_record(layout), token_files.read_manifest(layout)
    if manifest is None:
        return
    if record is None or record.sha256 != manifest.tokenizer:
        yield f"{layout.processed} was made with another tokenizer than {layout.tokenizer}"
    for path, committed in token_files.committed_sizes(layout, manifest).items():
        if not path.exists() or path.stat().st_size != committed:
            yield f"{path} does not have its {committed} committed bytes: the next run mends it"
    table = token_files.read_table(layout, manifest)
    for split in token_files.SPLITS:
        rows = table[table["split"] == token_files.SPLITS.index(split)]
        if int(rows["length"].sum()) != manifest.tokens(split):
            yield f"{layout.processed / TABLE} and {token_files.FILES[split]} disagree"
