"""benchmarks/nights.py on a few real texts, at a size that proves nothing but that all of it runs and adds up."""

import inspect
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tasks.contracts.paths import PROJECT

NAMES = (
    "argparse",
    "ast",
    "cmd",
    "csv",
    "difflib",
    "doctest",
    "inspect",
    "json.decoder",
    "logging",
    "pickle",
    "random",
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of standard modules, several documents each."""
    path = tmp_path_factory.mktemp("documents") / "documents.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for name in NAMES:
            __import__(name)
            module: types.ModuleType = sys.modules[name]
            text = inspect.getdoc(module) or ""
            parts = [text, *(inspect.getdoc(member) or "" for _, member in inspect.getmembers(module))]
            for number, part in enumerate(part for part in dict.fromkeys(parts) if len(part) > 300):
                file.write(json.dumps({"url": f"https://{name}.example/{number}", "text": part}) + "\n")
    return path


@pytest.mark.long
def test_all_policies_are_run_scored_and_compared(documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "nights.json"
    command = [sys.executable, "-m", "benchmarks.nights", "--documents", str(documents), "--folder", str(tmp_path)]
    size = {"nights": 2, "steps": 6, "tokens": 2000, "layers": 1, "width": 32, "block": 16, "batch": 2}
    command += [word for name, value in size.items() for word in (f"--{name}", str(value))]
    command += ["--seeds", "1", "2", "--rates", "0.03", "0.06", "--output", str(output)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=300)
    result = json.loads(output.read_text())
    assert output.with_suffix(".png").stat().st_size > 1000
    assert set(result["bits_per_byte"]) == {"published", "cosine", "new"}
    assert all(len(curve) == 2 and min(curve) > 0 for curve in result["bits_per_byte"].values())
    assert set(result["oracle"]) == {"2"} and set(result["oracle_tried"]) == {
        "night 2, rate 0.03",
        "night 2, rate 0.06",
    }
    behind = result["bits_per_byte"]["published"][1] / result["oracle"]["2"] - 1
    assert result["behind_oracle"]["2"] == pytest.approx(behind, abs=2e-4)
    steps = result["steps_a_night"]
    assert steps["in_the_lineage"][0] + steps["branch_thrown_away"][0] == 6
    again = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=60, text=True)
    assert json.loads(output.read_text())["bits_per_byte"] == result["bits_per_byte"]
    assert "published-1" not in again.stderr  # what is done is not done again
