"""Imports go one way, stages stand alone, and the stages are spelled the same everywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
STAGES = ("search", "render", "extract", "clean", "dedup", "tokenize", "train_chunk")
MODEL_NEEDS = {"model", "torch", "numpy", "safetensors", "tokenizers"}
ABOVE = {"model": {"tasks", "flows", "deployments", "run"}, "tasks": {"flows", "deployments", "run"}}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted((PROJECT / "model").glob("*.py")), ids=lambda path: path.name)
def test_the_model_knows_nothing_of_the_rest(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots - set(sys.stdlib_module_names) <= MODEL_NEEDS


@pytest.mark.parametrize("folder", ABOVE)
def test_nothing_imports_what_stands_above_it(folder: str) -> None:
    for path in (PROJECT / folder).glob("*.py"):
        assert not {name.partition(".")[0] for name in imported(path)} & ABOVE[folder], path


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage_and_no_prefect(stage: str) -> None:
    names = imported(PROJECT / "tasks" / f"{stage}.py")
    assert not names & {f"tasks.{other}" for other in STAGES if other != stage}
    assert not any(name.partition(".")[0] == "prefect" for name in names)


def test_only_the_coat_imports_prefect_in_tasks() -> None:
    with_prefect = {
        path.name
        for path in (PROJECT / "tasks").glob("*.py")
        if any(name.partition(".")[0] == "prefect" for name in imported(path))
    }
    assert with_prefect == {"prefect_tasks.py"}


def test_the_steps_of_a_night_import_no_prefect() -> None:
    for name in ("steps.py", "grow.py", "train.py"):
        roots = {one.partition(".")[0] for one in imported(PROJECT / "flows" / name)}
        assert "prefect" not in roots and "tasks.prefect_tasks" not in imported(PROJECT / "flows" / name), name


def test_the_stages_are_the_same_seven_plain_and_in_prefect() -> None:
    from tasks import stages

    assert set(stages.__all__) == {"Stages", *STAGES}
    protocol = {name for name in vars(stages.Stages) if not name.startswith("_")}
    assert protocol == set(STAGES) and all(callable(getattr(stages, name)) for name in STAGES)


def test_only_the_gate_and_the_proxy_open_connections() -> None:
    """What else asked the web would go past the gate. Workers talk to us over a pair of sockets of our own."""
    outwards = {"socket", "urllib.request", "http.client", "requests", "asyncio"}
    files = {path.name for path in (PROJECT / "tasks").glob("*.py") if imported(path) & outwards}
    assert files == {"gate.py", "proxy.py", "workers.py"}


def test_the_prefect_tasks_have_the_stages_names() -> None:
    names = re.findall(r'@task\(name="([^"]+)"', (PROJECT / "tasks" / "prefect_tasks.py").read_text())
    assert names == [stage.replace("_", "-") for stage in STAGES]


def test_no_file_is_called_like_a_package_it_would_hide() -> None:
    packages = {"prefect", "torch", "numpy", "httpx", "selenium", "model", "tasks"}
    assert not {path.stem for path in (PROJECT / "flows").glob("*.py")} & packages


def test_the_whole_model_package_imports_where_nothing_else_is_installed() -> None:
    script = """
import importlib, pathlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
for path in sorted(pathlib.Path("model").glob("*.py")):
    importlib.import_module("model." + path.stem)
"""
    declared = re.findall(r'^    "([A-Za-z0-9_-]+)', (PROJECT / "pyproject.toml").read_text(), flags=re.M)
    needs = MODEL_NEEDS | {"sympy", "networkx", "jinja2", "fsspec", "filelock", "typing-extensions", "setuptools"}
    missing = {name.replace("-", "_") for name in declared if name not in needs} | set(ABOVE["model"])
    assert {"prefect", "httpx", "selenium", "trafilatura", "gguf", "tiktoken", "tasks"} <= missing
    script = script.replace("MISSING", repr(missing))
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_training_child_loads_no_web_package_and_no_prefect() -> None:
    script = (
        "import sys, model.trainer;"
        "print(sorted({'prefect', 'httpx', 'selenium', 'trafilatura', 'tasks'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
