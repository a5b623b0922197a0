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


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_of(folder: str) -> list[Path]:
    """Every module below a folder; never none, so that a test over them cannot pass by looking at nothing."""
    found = sorted((PROJECT / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", files_of("model"), ids=lambda path: path.name)
def test_the_model_knows_nothing_of_the_rest(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots - set(sys.stdlib_module_names) <= MODEL_NEEDS


def test_nothing_imports_the_command_line() -> None:
    """`lint-imports` sees packages only; `run.py` is none."""
    for folder in ("flows", "tasks", "model"):
        for path in files_of(folder):
            assert "run" not in imported(path), path


def test_the_import_rules_hold() -> None:
    """The layers in pyproject.toml: imports go down only, equal floors do not import each other."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(stage: str) -> None:
    """`raw` lies between them; `token_files` is the table that training reads."""
    others = {f"tasks.{other}" for other in STAGES if other != stage}
    for path in files_of(f"tasks/{stage}"):
        names = {name for name in imported(path) if ".".join(name.split(".")[:2]) in others}
        assert all(name.startswith("tasks.tokenize.token_files") for name in names), path
        assert "tasks.raw.stage" not in imported(path)


def test_only_the_door_and_the_flows_import_prefect() -> None:
    with_prefect = {
        str(path.relative_to(PROJECT))
        for folder in ("tasks", "model")
        for path in files_of(folder)
        if any(name.partition(".")[0] == "prefect" for name in imported(path))
    }
    assert with_prefect == {"tasks/prefect_tasks.py"}


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
    files = {"/".join(path.parts[-2:]) for path in files_of("tasks") if imported(path) & outwards}
    assert files == {"web/egress.py", "web/egress_proxy.py", "processes/process_pool.py", "demo_site/server.py"}


def test_the_prefect_tasks_have_the_stages_names() -> None:
    names = re.findall(r'(?:@task\(name=|_as_task\()"([^"]+)"', (PROJECT / "tasks" / "prefect_tasks.py").read_text())
    assert names == [stage.replace("_", "-") for stage in STAGES]


def test_no_file_is_called_like_a_package_it_would_hide() -> None:
    packages = {"prefect", "torch", "numpy", "httpx", "selenium", "model", "tasks"}
    assert not {path.stem for path in (PROJECT / "flows").rglob("*.py")} & packages


def test_the_whole_model_package_imports_where_nothing_else_is_installed() -> None:
    script = """
import importlib, pathlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
for path in sorted(pathlib.Path("model").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))
"""
    declared = re.findall(r'^    "([A-Za-z0-9_-]+)', (PROJECT / "pyproject.toml").read_text(), flags=re.M)
    needs = MODEL_NEEDS | {"sympy", "networkx", "jinja2", "fsspec", "filelock", "typing-extensions", "setuptools"}
    missing = {name.replace("-", "_") for name in declared if name not in needs} | {
        "tasks",
        "flows",
        "deployments",
        "run",
    }
    assert {"prefect", "httpx", "selenium", "trafilatura", "gguf", "tiktoken", "tasks"} <= missing
    script = script.replace("MISSING", repr(missing))
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_training_child_loads_no_web_package_and_no_prefect() -> None:
    script = (
        "import sys, model.train_chunk;"
        "print(sorted({'prefect', 'httpx', 'selenium', 'trafilatura', 'tasks'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
