"""Running a command as a user does, reading what it left, and comparing that with `expected/`."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run import main

Json = dict[str, Any]

PROJECT = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).parent / "expected"
WRITE = os.environ.get("WRITE_GOLDEN") == "1"
PORT = re.compile(r"127\.0\.0\.1([:_])\d+")
COMMENT = re.compile(r"--[^\n]*")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SHORT = 120  # characters


def check(name: str, found: Any) -> None:
    """Compare with `expected/<name>.json`, the order of keys included; or write it."""
    path, text = EXPECTED / f"{name}.json", as_lines(found) + "\n"
    if WRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    expected = path.read_text(encoding="utf-8")
    differences = difflib.unified_diff(expected.splitlines(), text.splitlines(), "expected", "found", lineterm="", n=2)
    assert text == expected, "\n".join([f"{path.name} is another one:", *differences])


def as_lines(value: Any, indent: int = 0) -> str:
    """JSON of which a short list or table takes one line."""
    short = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or len(short) + indent <= SHORT:
        return short
    if isinstance(value, dict):
        lines = [f"{json.dumps(name, ensure_ascii=False)}: {as_lines(one, indent + 1)}" for name, one in value.items()]
    else:
        lines = [as_lines(one, indent + 1) for one in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    inner, outer = "\n" + " " * (indent + 1), "\n" + " " * indent
    return opened + inner + f",{inner}".join(lines) + outer + closed


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


def run(*arguments: str | Path) -> Ran:
    """`python run.py ...`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            status = int(stop.code or 0)
    return Ran(status, out.getvalue(), err.getvalue())


def run_apart(*arguments: str | Path) -> Ran:
    """The same in a process of its own: Prefect reads its home once in a process, and another test may have had it."""
    command = [sys.executable, "run.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class House:
    """A data directory and the profile that its runs have."""

    data: Path
    profile: Path

    def run(self, *arguments: str | Path) -> Ran:
        """A command that must succeed."""
        ran = run("--data-dir", self.data, "--profile", self.profile, *arguments)
        assert ran.status == 0, ran.err
        return ran

    def json(self, *arguments: str | Path) -> Json:
        values: Json = json.loads(self.run("--json", *arguments).out)
        return values

    def record(self, path: str) -> Json:
        values: Json = json.loads((self.data / path).read_text(encoding="utf-8"))
        return values

    def ledger(self) -> list[Json]:
        return read_lines(self.data / "raw" / "ledger.jsonl")

    def rows(self, query: str) -> list[Json]:
        """What a query of the state gives."""
        with closing(sqlite3.connect(self.data / "state" / "state.sqlite")) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]

    def tables(self) -> Json:
        """The schema of the state, without comments and white space, which nobody leans on."""
        found = self.rows("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        sql = {row["name"]: " ".join(COMMENT.sub("", row["sql"]).split()) for row in found}
        return {"user_version": self.rows("PRAGMA user_version")[0]["user_version"], "sql": sql}

    def masked_paths(self) -> dict[str, str]:
        """Raw paths with what depends on this run masked, once it is what it must be: the hash of the address."""
        rows = self.rows("SELECT path, url_key FROM documents WHERE path <> ''")
        return {row["path"]: masked_path(row["path"], row["url_key"]) for row in rows}

    def digests(self, *folders: str, root: Path | None = None) -> dict[str, str]:
        """sha256 of every file below these folders."""
        root, names = root or self.data, self.masked_paths()
        found = {}
        for folder in folders:
            for path in sorted((root / folder).rglob("*")):
                name = str(path.relative_to(root / folder))
                if path.is_file():
                    found[f"{folder}/{names.get(name, name)}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return dict(sorted(found.items()))

    def files(self) -> list[str]:
        """All files of the data directory, masked."""
        names = {f"{top}/{path}": f"{top}/{name}" for path, name in self.masked_paths().items() for top in TEXTS}
        found = [str(path.relative_to(self.data)) for path in self.data.rglob("*") if path.is_file()]
        return sorted({masked_run(names.get(path, path)) for path in found})


TEXTS = ("raw", "cleaned")


def read_lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def masked_path(path: str, url_key: str) -> str:
    """The ID of an address is the beginning of the sha256 of its canonical form."""
    return masked_port(path.replace(f"__{hashlib.sha256(url_key.encode()).hexdigest()[:12]}__", "__URL__"))


def masked_port(text: str) -> str:
    return PORT.sub(r"127.0.0.1\1PORT", text)


def masked_run(path: str) -> str:
    """The run's time, and the model's step: which one the gate lets through depends on the processor."""
    path = re.sub(r"^models/\d+/", "models/STEP/", path)
    return re.sub(r"^reports/\d{8}_\d{6}_", "reports/RUN_", path)


def shape(value: Any) -> Any:
    """The keys and the types of JSON values, all the way down."""
    if isinstance(value, dict):
        return {"DATE" if DATE.fullmatch(name) else name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for one in value:
            if (own := shape(one)) not in shapes:
                shapes.append(own)
        return shapes
    return type(value).__name__


def tensors(path: Path) -> Json:
    """Name, type and shape of each tensor of a safetensors file, from its header."""
    with open(path, "rb") as file:
        header: Json = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {
        name: f"{one['dtype']} {one['shape']}" if name != "__metadata__" else one
        for name, one in sorted(header.items())
    }


def table_rows(mark: str) -> list[list[str]]:
    """The cells of the generated table between `<!-- mark -->` and the next mark, without its head."""
    documents = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md"))]
    texts = [path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")[2] for path in documents]
    (text,) = filter(None, texts)
    lines = text.partition("<!--")[0].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
