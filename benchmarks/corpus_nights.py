"""Does a night cost what is new, or what is there? 1,000 new documents on a small corpus and on a large one.

    python -m benchmarks.corpus_nights --folder DIR --output benchmarks/results/corpus_nights.json

Grows both corpora once (300,000 documents take about 20 minutes and 3 GB; a folder that is there is used again),
then runs nights on them by turns, each in a process of its own, and nights with nothing new. A thirtieth of all
documents are pages of one template, pairwise Jaccard similarity 0.2 to 0.4.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.data_stages import in_a_process, store_documents
from benchmarks.result import circumstances, write_result
from benchmarks.texts import as_document, edited, page_of_template, prose
from tasks.contracts.paths import find_data_directory
from tasks.contracts.records import Document
from tasks.contracts.run_record import Silent
from tasks.contracts.settings import Settings
from tasks.forget.recovery import ForgettingRecovery
from tasks.run_context import open_run

Json = dict[str, Any]
BOUNDS = {"wall_s": 1.3, "cpu_s": 1.3, "peak_mb": 1.3}
WORDS = 150
GROWN_AT_ONCE = 20_000


def document(number: int) -> Document:
    """In thirty: one page of a template, one near copy of the one before, on thirty sites for each thousand."""
    url = f"https://site{number // 30 % 10_000}.example/{number}"
    if number % 30 == 0:
        return as_document(page_of_template(0, number, WORDS), f"https://templated.example/{number}")
    if number % 30 == 7:
        return as_document(edited(prose(number - 1, WORDS), 0.02, number), url)
    return as_document(prose(number, WORDS), url)


def store(data: Path, upto: int) -> None:
    """Raw text and ledger lines for all documents that are not there yet."""
    store_documents(data, [document(number) for number in range(documents_in(data), upto)])


def documents_in(data: Path) -> int:
    with open_run(Settings(), find_data_directory(data), "benchmark", Silent(), ForgettingRecovery()) as night:
        return night.catalog.ledger().documents


def grow(data: Path, size: int) -> None:
    for upto in [*range(GROWN_AT_ONCE, size, GROWN_AT_ONCE), size]:
        if documents_in(data) < upto:
            store(data, upto)
            print(f"{data}: {upto} documents, {in_a_process(data)['wall_s']} s", flush=True)
    in_a_process(data)


def measure(folders: dict[int, Path], new: int, rounds: int) -> Json:
    nights: dict[int, list[Json]] = {size: [] for size in folders}
    idle: dict[int, list[Json]] = {size: [] for size in folders}
    for _ in range(rounds):
        for size, data in folders.items():
            store(data, documents_in(data) + new)
            nights[size].append(in_a_process(data))
            idle[size].append(in_a_process(data))
            print(size, nights[size][-1], flush=True)
    small, large = min(folders), max(folders)
    return {
        "new_documents": new,
        "nights": {str(size): runs for size, runs in nights.items()},
        "nothing_new": {str(size): runs for size, runs in idle.items()},
        "ratios": {name: round(median(nights[large], name) / median(nights[small], name), 3) for name in BOUNDS},
        "bounds": BOUNDS,
        "nothing_new_wall_s": median(idle[large], "wall_s"),
    }


def median(runs: list[Json], name: str) -> float:
    return statistics.median(float(run[name]) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs=2, default=[10_000, 300_000])
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    folders = {size: arguments.folder / str(size) for size in sorted(arguments.sizes)}
    for size, data in folders.items():
        grow(data, size)
    command = f"python -m benchmarks.corpus_nights --sizes {min(folders)} {max(folders)} --new {arguments.new}"
    result = circumstances(command, ("numpy", "ftfy", "xxhash", "tiktoken"))
    write_result(result | measure(folders, arguments.new, arguments.rounds), arguments.output)


if __name__ == "__main__":
    main()
