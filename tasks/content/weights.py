"""Tables of weights: a name on each line, and after it a weight for each column."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
BLOCK_WEIGHTS, KIND_WEIGHTS = FOLDER / "block_weights.tsv", FOLDER / "kind_weights.tsv"

Weights = dict[str, tuple[float, ...]]


def read_weights(path: Path) -> tuple[tuple[str, ...], Weights]:
    """Returns the columns of a table, and its weights by name."""
    head, *lines = path.read_text(encoding="utf-8").strip("\n").split("\n")
    rows = (line.split("\t") for line in lines)
    return tuple(head.split("\t")[1:]), {name: tuple(map(float, values)) for name, *values in rows}


@dataclass(frozen=True, slots=True)
class Tables:
    """What was learned: a weight for each name of a block, and for each name of a page one weight for each kind."""

    blocks: dict[str, float]  # above 0 the name speaks for a block, below 0 against it
    kinds: tuple[str, ...]
    pages: Weights


@cache
def learned() -> Tables:
    """Returns the tables of this version."""
    kinds, pages = read_weights(KIND_WEIGHTS)
    return Tables({name: weight for name, (weight,) in read_weights(BLOCK_WEIGHTS)[1].items()}, kinds, pages)


def write_weights(path: Path, columns: tuple[str, ...], weights: Weights) -> None:
    """Writes a table, sorted by name, with two decimals; names without a weight that counts are left out."""
    lines = ["\t".join(("name", *columns))]
    for name, values in sorted(weights.items()):
        written = [f"{value:.2f}" for value in values]
        if any(float(value) for value in written):
            lines.append("\t".join((name, *written)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
