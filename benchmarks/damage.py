"""Damages files of a small data directory, one at a time, and says what `verify` and the next night make of it.

python -m benchmarks.damage --cases 1000 --output benchmarks/results/damage.json

A case: a copy of the directory, one file of one kind damaged at a random place, `verify`, then a night with a few more
documents (clean, prepare, train, publish), then `verify` again. It is named where `verify` says so; healed where the
directory then holds no damage and the derived bytes are those of an undamaged night; refused where what is damaged
was named, set aside or left alone, and nothing was made from it. Every so many cases the copy is left whole: the
control, of which nothing may be said.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.result import Json, circumstances, write_result
from benchmarks.texts import as_document, prose
from flows.steps import run_steps
from model.checkpoints.checkpoint import load_checkpoint
from model.contracts.job import TrainJob
from model.contracts.report import Report
from model.contracts.step_folders import checkpoint_folders
from model.data.commit_record import TokensDamagedError
from model.publishing.sample import load_decoder
from run import main as run_command
from tasks import stages
from tasks.contracts.errors import MiniatureMemoryError, ProcessedDamagedError, TrainingError
from tasks.contracts.paths import Layout, find_data_directory
from tasks.contracts.run_record import RunRecord, Silent
from tasks.contracts.settings import CleanSettings, Settings, TokenizeSettings, TrainSettings
from tasks.forget.recovery import ForgettingRecovery
from tasks.run_context import open_run

CONTROL_EVERY = 20
DOCUMENTS = 24
STEPS = ("validation", "cleaning", "preparation", "training")
KINDS = {
    "raw text": "raw/source_*/*.txt",
    "ledger": "raw/ledger.jsonl",
    "journal": "raw/.journal.jsonl",
    "tokenizer": "raw/tokenizer.json",
    "tokenizer's record": "raw/tokenizer.meta.json",
    "cleaned text": "cleaned/source_*/*.txt",
    "train.bin": "processed/train.bin",
    "val.bin": "processed/val.bin",
    "documents.bin": "processed/documents.bin",
    "meta.json": "processed/meta.json",
    "dedup index": "state/dedup/*.bin",
    "state": "state/state.sqlite",
    "seal of the state": "state/state.sqlite.seal",
    "checkpoint": "checkpoints/step_*/*",
    "published model": "models/[0-9]*/*",
    "anchor set": "models/anchor.json",
}


def settings() -> Settings:
    return Settings(
        clean=CleanSettings(workers=1),
        tokenize=TokenizeSettings(vocab_size=300, freeze_bytes=10_000),
        train=TrainSettings(
            block_size=32,
            n_layer=1,
            n_head=2,
            n_kv_head=2,
            n_embd=32,
            batch_size=2,
            steps=3,
            compile="off",
            threads=1,
            evaluate_tokens=512,
        ),
    )


def train_here(job: TrainJob, layout: Layout, lock_handle: int, hear: Report) -> Json:
    """`tasks.train_chunk` without its child process, whose imports take most of the time of so small a chunk."""
    from model.train_chunk import train

    try:
        return train(job, hear)
    except TokensDamagedError as error:
        raise ProcessedDamagedError(str(error)) from error
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error


STAGES: Any = SimpleNamespace(
    **{name: getattr(stages, name) for name in stages.__all__ if name != "Stages"} | {"train_chunk": train_here}
)


def night(layout: Layout, first: int, number: int, steps: tuple[str, ...] = STEPS) -> RunRecord:
    """Stores some documents and runs the steps of a night."""
    documents = [
        as_document(prose(seed, 120), f"https://site{seed % 3}.example/{seed}") for seed in range(first, first + number)
    ]
    with open_run(settings(), layout, "damage", Silent(), ForgettingRecovery()) as run:
        if new := [one for one in documents if not run.catalog.has(one.url, one.sha256)]:
            run.catalog.ledger().append(new, 0.2)
            run.catalog.index_new()
    return run_steps(settings(), layout, steps, STAGES, Silent(), lambda markdown: None)


# -- damages ---------------------------------------------------------------------------------------------


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    _write(path, bytes(content))


def truncate(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    _write(path, content[: chance.randrange(len(content))])


def zero(path: Path, chance: random.Random) -> None:
    """A stretch of up to 512 bytes, of which at least one was not zero."""
    content = bytearray(path.read_bytes())
    place = chance.choice([at for at, byte in enumerate(content) if byte][:100_000])
    end = min(len(content), place + chance.randint(1, 512))
    content[place:end] = bytes(end - place)
    _write(path, bytes(content))


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


def swap(path: Path, chance: random.Random) -> None:
    """With another file of the same folder, or else two halves of it with each other."""
    others = [one for one in sorted(path.parent.iterdir()) if one.is_file() and one.read_bytes() != path.read_bytes()]
    content = path.read_bytes()
    if others:
        other = chance.choice(others)
        theirs = other.read_bytes()
        _write(other, content)
        _write(path, theirs)
    else:
        cut = chance.randrange(1, len(content))
        _write(path, content[cut:] + content[:cut])


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (flip, truncate, zero, delete, swap)


def _write(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(mode)


# -- a case ----------------------------------------------------------------------------------------------


def verified(root: Path) -> tuple[int, str]:
    """The exit status of `run.py verify`, and what it printed; an exception is not caught: that is a failure."""
    out = io.StringIO()
    with redirect_stdout(out):
        status = run_command(["--data-dir", str(root), "verify"])
    return status, out.getvalue()


def derived(root: Path) -> dict[str, str]:
    """Digests of all derived files, by name."""
    folders = (root / "cleaned", root / "processed")
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def served_whole(root: Path) -> bool:
    """Whether what `sample` would open is whole, or refused."""
    try:
        load_decoder((root / "models" / "latest").resolve())
    except ValueError:
        return False
    return True


def digest_of_tree(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "lock":
            found.update(f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return found.hexdigest()


def judge(root: Path, expected: dict[str, str], damage: Callable[[], None]) -> Json:
    """What becomes of one damaged copy."""
    layout = find_data_directory(root)
    damage()
    before = digest_of_tree(root)
    status, said = verified(root)
    missing = ("state.sqlite is missing", ".journal.jsonl is missing", "anchor.json is missing", "is not sealed")
    note = any(one in said for one in missing)  # no damage
    result: Json = {"named": status == 1, "noted": note and status == 0, "unchanged": before == digest_of_tree(root)}
    refused = ""
    try:
        night(layout, DOCUMENTS, 3)
    except MiniatureMemoryError as error:
        refused = str(error)
    after, left = verified(root)
    same = derived(root) == expected
    result["healed"] = after == 0 and same
    # Derived from what is damaged, served from it, or trained from it: none of these may be.
    newest = list(checkpoint_folders(layout.checkpoints).values())[-1:]
    whole = all(_loads(folder) for folder in newest)
    published = served_whole(root)
    result["refused"] = not result["healed"] and (bool(refused) or (same and whole and (published or after == 1)))
    result["silently"] = not result["healed"] and not result["refused"]
    if result["silently"] or not (result["named"] or result["noted"]):
        result["what"] = {"verify": said[-600:], "night": refused, "afterwards": left[-600:], "same": same}
    return result


def _loads(folder: Path) -> bool:
    try:
        load_checkpoint(folder)
    except ValueError:
        return False
    return True


def cases(number: int, seed: int) -> Iterator[tuple[str, Callable[[Path, random.Random], None], random.Random]]:
    """Kind, damage and chance of each case: all pairs in turn."""
    pairs = [(kind, damage) for kind in KINDS for damage in DAMAGES]
    for at in range(number):
        kind, damage = pairs[at % len(pairs)]
        yield kind, damage, random.Random(f"{seed}:{at}")


def run_case(whole: Path, expected: dict[str, str], kind: str, damage: Any, chance: random.Random) -> Json:
    with tempfile.TemporaryDirectory(dir=whole.parent) as name:
        copy = Path(name) / "data"
        shutil.copytree(whole, copy, symlinks=True)
        chosen = chance.choice(
            [path for path in sorted(copy.glob(KINDS[kind])) if path.is_file() and path.stat().st_size]
        )
        result = judge(copy, expected, lambda: damage(chosen, chance))
        return {"kind": kind, "damage": damage.__name__, "file": str(chosen.relative_to(copy)), **result}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damage")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no case after so many")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    os.environ["MINIATURE_MEMORY_PARENT"] = ""
    table: dict[str, Counter[str]] = {}
    odd: list[Json] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        night(find_data_directory(whole), 0, DOCUMENTS // 2)
        night(find_data_directory(whole), DOCUMENTS // 2, DOCUMENTS // 2)
        control = Path(folder) / "control"
        shutil.copytree(whole, control, symlinks=True)
        night(find_data_directory(control), DOCUMENTS, 3)
        expected = derived(control)
        controls = Counter[str]()
        for at, (kind, damage, chance) in enumerate(cases(arguments.cases, arguments.seed)):
            if time.monotonic() - began > arguments.seconds:
                break
            result = run_case(whole, expected, kind, damage, chance)
            row = table.setdefault(f"{kind}, {damage.__name__}", Counter())
            row["cases"] += 1
            for name in ("named", "noted", "unchanged", "healed", "refused", "silently"):
                row[name] += result[name]
            if "what" in result and len(odd) < 40:
                odd.append(result)
            if at % CONTROL_EVERY == 0:
                with tempfile.TemporaryDirectory(dir=folder) as name:
                    copy = Path(name) / "data"
                    shutil.copytree(whole, copy, symlinks=True)
                    untouched = judge(copy, expected, lambda: None)
                    controls["cases"] += 1
                    controls["named"] += untouched["named"]
                    controls["as expected"] += untouched["healed"]
    total = Counter[str]()
    for row in table.values():
        total += row
    result = {
        **circumstances("python -m benchmarks.damage --cases " + str(arguments.cases), ("torch", "numpy")),
        "seconds": round(time.monotonic() - began, 1),
        "total": dict(total),
        "control": dict(controls),
        "by kind and damage": {name: dict(row) for name, row in table.items()},
        "not named or used silently": odd,
    }
    write_result(result, arguments.output)


if __name__ == "__main__":
    main()
