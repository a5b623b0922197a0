"""clean: raw texts normalized, without personal data, without their sites' boilerplate, judged by quality filters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tasks.clean.boilerplate import SiteLines, line_keys
from tasks.clean.normalize import normalize
from tasks.clean.pii import replace_personal_data
from tasks.clean.quality_filters import apply_quality_filters
from tasks.contracts.errors import TruthDamagedError
from tasks.contracts.records import Cleaned, Dropped
from tasks.contracts.settings import CleanSettings
from tasks.processes.process_pool import ProcessPool, Spread

# Raise it with every change in this room that can change a text or a verdict; but `boilerplate` and `site_frame` have
# their own.
RULE_VERSION = 6


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A stored document, on its way into `clean`."""

    seq: int
    path: str  # below raw/ and cleaned/
    sha256: str  # of its text
    file: str  # where its text lies
    bytes: int
    site: str
    counts: bool  # the first version of its page: its lines count for what the site repeats


@dataclass(frozen=True, slots=True)
class Normalized:
    """A normalized text, and what its site's boilerplate is found by."""

    text: str
    line_keys: list[int]  # of `boilerplate.candidate_lines`


class RawBatch:
    """Documents in ledger order; other processes begin at once to normalize their texts, where there is a pool."""

    def __init__(self, documents: Sequence[RawDocument], pool: ProcessPool | None = None) -> None:
        self.documents, self.pool = documents, pool
        files, sizes = [(one.file, one.sha256) for one in documents], [one.bytes for one in documents]
        self.normalized = Spread(normalize_file, files, sizes, pool)


def normalize_file(file: tuple[str, str]) -> Normalized:
    """The normalized text of a raw file (path, sha256), without personal data.

    Raises TruthDamagedError where it is not what was stored.
    """
    path, sha256 = file
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise TruthDamagedError(f"{path} is missing. Restore raw/ from your backup.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TruthDamagedError(f"{path} is not what was stored. Restore raw/ from your backup.")
    text = replace_personal_data(normalize(content.decode("utf-8", "replace")))
    return Normalized(text, line_keys(text))


def clean(batch: RawBatch, rules: CleanSettings, site_lines: SiteLines) -> list[Cleaned | Dropped]:
    """Returns the cleaned text of each document, or the rule that it breaks, in the same order.

    Args:
        site_lines: what each site repeats, as seen in all documents before; this batch is added, and not yet saved.
    """
    site_lines.begin()
    texts = [
        site_lines.strip(document.seq, document.site, normalized.text, normalized.line_keys, document.counts)
        for document, normalized in zip(batch.documents, batch.normalized.results(), strict=True)
    ]
    judge = partial(apply_quality_filters, settings=rules)
    verdicts = Spread(judge, texts, map(len, texts), batch.pool, urgent=True).results()
    return [
        verdict if isinstance(verdict, Dropped) else Cleaned(document.seq, document.path, text, verdict)
        for document, text, verdict in zip(batch.documents, texts, verdicts, strict=True)
    ]
