"""A published folder and the digests of its files, in its own record. Needs no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from model.contracts.atomic_files import write_atomically
from model.contracts.step_folders import model_folders
from model.data.digests import SEAL, file_digest, read_record, record_text

RECORD = "miniature_memory.json"
CARD = "README.md"


def with_digests(folder: Path, record: dict[str, Any]) -> str:
    """Returns the text of a folder's record, with the digest of each other file that lies there now."""
    names = sorted(path.name for path in folder.iterdir() if path.name != RECORD and not path.name.startswith("."))
    return record_text(record | {"digests": {name: file_digest(folder / name) for name in names}})


def seal_models(models_dir: Path) -> None:
    """Adds digests to what an earlier version published."""
    for folder in model_folders(models_dir).values():
        with suppress(OSError, ValueError):  # damaged: it is named, and not used
            record = read_record(folder / RECORD)
            if "digests" not in record:
                write_atomically(folder / RECORD, with_digests(folder, record))


def whole_record(folder: Path) -> dict[str, Any]:
    """Returns a folder's record once each byte of the folder is checked; ValueError says what is wrong.

    What an earlier version published has no digests until the next night, and is taken as it is.
    """
    try:
        record = read_record(folder / RECORD)
        if "digests" in record and SEAL not in record:
            raise ValueError(f"{RECORD} does not match its digest")
        for name, digest in record.get("digests", {}).items():
            if file_digest(folder / name) != digest:
                raise ValueError(f"{name} does not match its digest")
    except OSError as error:
        raise ValueError(f"{Path(error.filename or '').name or 'a file'} cannot be read ({error.strerror})") from error
    return record
