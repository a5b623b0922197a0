"""`processed/meta.json`, the commit record of the token files, and the check of a megabyte of them. Needs no torch.

nanoGPT's own data has no commit record, and is read as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.data.digests import block_digest, blocks, read_record

NAME = "meta.json"
# Of each file the key that counts its items, and the bytes of an item.
ITEMS = {"train.bin": ("train_tokens", 2), "val.bin": ("val_tokens", 2), "documents.bin": ("documents", 24)}


class TokensDamagedError(ValueError):
    """A file below `processed/` is not what was written: it has to be derived again."""


@dataclass(frozen=True)
class CommittedFile:
    """How much of a file counts, and the digest of each megabyte of that."""

    path: Path
    size: int
    digests: list[str]

    def check(self, block: int) -> None:
        """Raises TokensDamagedError where a megabyte, counted from 0, is not what was written."""
        if block >= len(self.digests) or block_digest(self.path, block, self.size) != self.digests[block]:
            raise TokensDamagedError(f"{self.path} is damaged: its megabyte {block} is not what was written")

    def check_all(self) -> None:
        for block in range(blocks(self.size)):
            self.check(block)


def find_committed(path: Path) -> CommittedFile | None:
    """Returns what the commit record beside a file says of it; None where nobody wrote digests.

    Raises TokensDamagedError where the commit record is damaged.
    """
    try:
        record: dict[str, Any] = read_record(path.with_name(NAME))
        if "digests" not in record:
            return None
        key, item = ITEMS[path.name]
        return CommittedFile(path, record[key] * item, record["digests"][path.name])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise TokensDamagedError(f"{path.with_name(NAME)} is damaged: {error}") from error
