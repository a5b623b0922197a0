"""What every result says of its circumstances, and how it is written down."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

Json = dict[str, Any]


def circumstances(command: str, packages: Iterable[str] = ()) -> Json:
    """When, where and with which versions."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def machine() -> Json:
    cpu = platform.processor() or "unknown"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(terse=True),
        "load_at_start": os.getloadavg()[0],
    }


def write_result(result: Json, output: Path | None) -> None:
    """Print it, and write it to a file where one is named."""
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if output:
        output.write_text(text)
