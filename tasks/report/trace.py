"""Trace: the path of one page, from who proposed it to where its text is in the token files; and back."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import Any

from tasks.clean.boilerplate import SiteLines
from tasks.contracts.credentials import without_user
from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import Layout
from tasks.contracts.records import LOW_CONFIDENCE
from tasks.contracts.settings import SearchSettings
from tasks.raw.catalog import Catalog
from tasks.search.frontier import Frontier
from tasks.storage.state_db import open_state_to_read
from tasks.tokenize import token_files


def trace(url: str, layout: Layout) -> dict[str, Any]:
    """Returns what is known of a URL: its place in the frontier, and each stored text with its outcome."""
    url = without_user(url)
    with closing(open_state_to_read(layout.database)) as db:
        visited = Frontier(db, SearchSettings()).lookup(url)
        catalog, site_lines = Catalog(layout, db), SiteLines(db)
        forgotten = catalog.forgotten.covers(url)
        documents = [dict(row) for row in catalog.trace(url)]
        for document in documents:
            document["ledger"] = catalog.entry(document["seq"]).as_dict()
            document["boilerplate"] = dataclasses.asdict(site_lines.removed(document["seq"]))
            document["tokens"] = _tokens(layout, document["seq"])
    known = bool(visited or documents or forgotten)
    return {"url": url, "known": known, "forgotten": forgotten, "frontier": visited, "documents": documents}


def url_of_token(target: str, layout: Layout) -> str:
    """Returns the URL of the document that holds a token, given as `train.bin:123456`; any other text is a URL already.

    Raises:
        SettingsError: the file does not have so many tokens, or the position is no number.
    """
    name, _, position = target.rpartition(":")
    split = next((split for split, file in token_files.FILES.items() if file == name), None)
    if split is None:
        return target
    manifest = token_files.read_manifest(layout)
    tokens = manifest.tokens(split) if manifest else 0
    if manifest is None or not position.isdecimal() or int(position) >= tokens:
        raise SettingsError(f"{name} has {tokens:,} tokens: give {name}:0 to {name}:{max(tokens - 1, 0)}")
    seq = token_files.document_at(layout, manifest, split, int(position))
    with closing(open_state_to_read(layout.database)) as db:
        return Catalog(layout, db).entry(seq).url


def _tokens(layout: Layout, seq: int) -> dict[str, Any] | None:
    """Returns where the document lies in the token files; None where it does not."""
    manifest = token_files.read_manifest(layout)
    if manifest is None:
        return None
    table = token_files.read_table(layout, manifest)
    rows = table[table["seq"] == seq]
    if not len(rows):
        return None
    row = rows[0]
    split = token_files.SPLITS[row["split"]]
    return {"file": token_files.FILES[split], "offset": int(row["offset"]), "length": int(row["length"])}


def _how_it_was_read(entry: dict[str, Any]) -> str:
    """Returns the kind of page, how sure the extractor was, and by which way it came; empty for older documents."""
    if entry.get("confidence") is None:
        return ""
    low = " (low)" if entry["confidence"] < LOW_CONFIDENCE else ""
    rendered = entry.get("rendered")
    way = "from a file" if rendered is None else "by Chromium" if rendered else "by plain HTTP"
    return f"as {entry['kind'] or 'a page'}, with confidence {entry['confidence']:.2f}{low}, {way}"


def as_text(found: dict[str, Any]) -> str:
    """Returns the same as text for a person, in the order of the stages."""
    if not found["known"]:
        return f"{found['url']} was never proposed to this dataset"
    lines = [found["url"]]
    if found["forgotten"]:
        lines.append("  forgotten   it stays away, whoever proposes it")
    if visited := found["frontier"]:
        lines.append(f"  found by    {visited['provider']} ({visited['query']}), {visited['depth']} links deep")
        lines.append(f"  last visit  {visited['outcome'] or 'not visited yet'} {visited['detail'] or ''}".rstrip())
    for document in found["documents"]:
        entry = document["ledger"]
        lines.append(f"  stored      as document {entry['seq']} on {entry['fetched_at']}: raw/{entry['path']}")
        lines.append(f"              {entry['bytes']:,} bytes, {entry['split']}, {entry['title'] or 'no title'}")
        if how := _how_it_was_read(entry):
            lines.append(f"  read        {how}")
        outcome = document["outcome"] or "waits to be cleaned"
        lines.append(f"  then        {outcome} {document['detail'] or ''}".rstrip())
        if (removed := document["boilerplate"])["lines"]:
            lines.append(f"  boilerplate {removed['lines']:,} lines removed, {removed['characters']:,} characters")
        if place := document["tokens"]:
            lines.append(f"  tokens      {place['length']:,} in {place['file']} from {place['offset']:,}")
    return "\n".join(lines)
