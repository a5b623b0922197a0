"""What a blocklist of UT1's size costs: 5 million domains, compiled once, opened and asked, each in a fresh process.

    python -m benchmarks.blocklists --output benchmarks/results/blocklists.json

Seconds are CPU seconds. Memory is what the process grew by at its peak (VmHWM) after its imports; `resident_mb` is what
of the mapped list 20,000 look-ups had touched.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from benchmarks.result import machine
from tasks.contracts.paths import PROJECT, Layout
from tasks.contracts.settings import SearchSettings
from tasks.web.blocklists import open_blocklists

Json = dict[str, Any]
ENDINGS = ("com", "net", "org", "de", "co.uk", "tumblr.com", "info", "ru")
LOOKUPS = 20_000


def domains(entries: int) -> Iterator[str]:
    generator = random.Random(1)
    for number in range(entries):
        word = "".join(generator.choices(string.ascii_lowercase, k=generator.randint(4, 14)))
        yield f"{word}{number % 1000}.{generator.choice(ENDINGS)}"


def memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def open_and_ask(folder: Path) -> Json:
    """In a process of its own."""
    settings = SearchSettings(blocklists=(str(folder / "adult"),), block_adult=False)
    before, began = memory_mb("VmHWM"), time.process_time()
    lists = open_blocklists(settings, Layout(folder), lambda _: None)
    opened, peak = time.process_time() - began, memory_mb("VmHWM")
    resident = memory_mb("VmRSS")
    listed = [f"https://www.{name}/a/b?c=d" for name in domains(LOOKUPS // 2)]
    others = [f"https://www.{name}x/a/b?c=d" for name in domains(LOOKUPS // 2)]
    began = time.process_time()
    found = sum(lists.find(url) is not None for url in listed)
    wrong = sum(lists.find(url) is not None for url in others)
    asked = time.process_time() - began
    return {
        "open_seconds": round(opened, 3),
        "open_peak_mb": round(peak - before, 1),
        "lookup_microseconds": round(asked / LOOKUPS * 1e6, 1),
        "resident_mb": round(memory_mb("VmRSS") - resident, 1),
        "listed_found": found,
        "others_found": wrong,
    }


def measure(entries: int) -> Json:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "adult").mkdir()
        with open(folder / "adult" / "domains", "w", encoding="utf-8") as file:
            file.writelines(f"{domain}\n" for domain in domains(entries))
        command = [sys.executable, "-m", "benchmarks.blocklists", "--folder", name]
        runs = [subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True) for _ in range(2)]
        first, again = (json.loads(run.stdout) for run in runs)
        return {
            "entries": entries,
            "list_mb": round((folder / "adult" / "domains").stat().st_size / 1e6, 1),
            "compiled_mb": round(sum(path.stat().st_size for path in Layout(folder).blocklists.iterdir()) / 1e6, 1),
            "first_night": first,
            "every_other_night": again,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=5_000_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(open_and_ask(options.folder)))
        return
    result = {
        "command": f"python -m benchmarks.blocklists --entries {options.entries}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "xxhash": xxhash.VERSION},
        **measure(options.entries),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
