"""Falls: training that stopped being numbers ends its chunk and goes on from the last good checkpoint.

From there with the same batches it would fall again, every night. So each fall is written down, in `falls.json` and in
every checkpoint after it, and moves the order of the batches on from the step it went back to (`batches.Plan`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from model.contracts.job import write_whole

NAME = "falls.json"


@dataclass(frozen=True)
class Rollback:
    back_to: int
    """The step of the checkpoint that training goes on from."""
    at: int
    """The step that failed."""
    reason: str


def read_falls(checkpoints_dir: Path, in_checkpoint: list[dict[str, object]]) -> list[Rollback]:
    """All falls of a lineage, oldest first; those of the checkpoint where the file is lost."""
    try:
        in_file = [Rollback(**one) for one in json.loads((checkpoints_dir / NAME).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        in_file = []
    known = [Rollback(**one) for one in in_checkpoint]  # type: ignore[arg-type]  # as they were written
    return max(in_file, known, key=len)


def write_falls(checkpoints_dir: Path, falls: list[Rollback]) -> None:
    write_whole(checkpoints_dir / NAME, json.dumps([asdict(fall) for fall in falls], indent=2) + "\n")


def data_order(falls: list[Rollback], step: int) -> int:
    """How often the order of the batches has moved on by this step."""
    return sum(fall.back_to <= step for fall in falls)
