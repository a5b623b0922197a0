"""Rollbacks: training that stopped being numbers ends its chunk and goes on from the last good checkpoint.

With the same batches it would diverge from there again, every night. So each rollback is written down, in `falls.json`
and in every checkpoint after it, and changes the order of the batches from the step it went back to (`batches.Plan`).
PaLM's training skipped data at a restart likewise (Chowdhery et al. 2022, 5.1).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from model.contracts.atomic_files import write_atomically
from model.data.digests import read_sealed, record_text

NAME = "falls.json"


@dataclass(frozen=True)
class Rollback:
    back_to: int
    """The step of the checkpoint that training goes on from."""
    at: int
    """The step that failed."""
    reason: str


def read_rollbacks(checkpoints_dir: Path, in_checkpoint: list[dict[str, object]]) -> list[Rollback]:
    """Returns all rollbacks of a lineage, oldest first; those of the checkpoint where the file is lost or damaged."""
    try:
        in_file = read_rollbacks_file(checkpoints_dir / NAME)
    except (OSError, ValueError, TypeError, KeyError):
        in_file = []
    known = [Rollback(**one) for one in in_checkpoint]  # type: ignore[arg-type]  # as they were written
    return max(in_file, known, key=len)


def read_rollbacks_file(path: Path) -> list[Rollback]:
    """Raises ValueError, TypeError or KeyError where it is damaged; OSError."""
    written = json.loads(path.read_bytes())  # an earlier version wrote the bare list
    return [Rollback(**one) for one in (written if isinstance(written, list) else read_sealed(path)["rollbacks"])]


def write_rollbacks(checkpoints_dir: Path, rollbacks: list[Rollback]) -> None:
    write_atomically(checkpoints_dir / NAME, record_text({"rollbacks": [asdict(one) for one in rollbacks]}))


def data_order(rollbacks: list[Rollback], step: int) -> int:
    """Returns how often the order of the batches has changed by this step."""
    return sum(one.back_to <= step for one in rollbacks)
