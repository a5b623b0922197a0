"""The docs agree with the code: tables, commands, paths, modules, rooms."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs import generate
from run import STEP_COMMANDS, parse_arguments

PROJECT = Path(__file__).resolve().parents[2]
# The log tells what was; its old entries keep the names of their day.
DOCS = sorted(
    path.relative_to(PROJECT)
    for pattern in ("*.md", "data/*.md", "docs/*.md", "docs/decisions/*.md")
    for path in PROJECT.glob(pattern)
    if path.name != "log.md"
)
ROOMS = sorted(path.parent for root in ("tasks", "model", "flows") for path in (PROJECT / root).rglob("__init__.py"))


def read(doc: Path) -> str:
    return (PROJECT / doc).read_text(encoding="utf-8")


def without_examples(text: str) -> str:
    """Code of the reader's own names files that do not exist."""
    return re.sub(r"```(?:python|toml)\n.*?```", "", text, flags=re.DOTALL)


def in_shell_blocks(text: str) -> list[str]:
    """What follows `run.py` in the commands that a reader copies."""
    shell = "".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    return re.findall(r"python run\.py([^\n#;&]*)", shell)


def in_prose(text: str) -> list[str]:
    """What follows `run.py` between backticks, where arguments may be left out."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"`(?:[\w./]*python )?run\.py([^`]*)`", prose)


def test_the_docs_are_found() -> None:
    assert {"README.md", "DEVELOPER_GUIDE.md", "ROADMAP.md", "data/README.md", "docs/search.md"} <= set(map(str, DOCS))
    assert len(DOCS) > 20 and len(ROOMS) > 25
    assert len(in_shell_blocks(read(Path("README.md")))) >= 15 and len(in_prose(read(Path("README.md")))) >= 5


def test_the_guides_tables_are_the_codes() -> None:
    guide = generate.GUIDE.read_text(encoding="utf-8")
    assert generate.fill(guide) == guide, "run: python -m docs.generate"


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_command_is_understood(doc: Path) -> None:
    text = read(doc)
    for command in in_shell_blocks(text):
        parse_arguments([part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)])
    for command in in_prose(text):
        if command.split() and not command.split()[-1].startswith("-"):
            with pytest.raises(SystemExit) as ended:
                parse_arguments([*command.split(), "--help"])
            assert ended.value.code == 0, f"{doc}: run.py{command}"


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_link_leads_somewhere(doc: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(doc)):
        assert "://" in target or (PROJECT / doc.parent / target).exists(), f"{doc} names {target}"


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_path_of_the_project_exists(doc: Path) -> None:
    tops = "tasks|model|flows|deployments|tests|benchmarks"
    for found in re.findall(rf"(?<![\w/.<-])(?:{tops})/[\w./-]+", without_examples(read(doc))):
        assert (PROJECT / found.rstrip(".")).exists(), f"{doc} names {found}"


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_file_that_is_named_alone_exists(doc: Path) -> None:
    tops = ("tasks", "model", "flows", "deployments", "benchmarks", "docs", "tests")
    names = {path.name for top in tops for path in (PROJECT / top).rglob("*.py")} | {"run.py"}
    for found in re.findall(r"`(\w+\.py)`", without_examples(read(doc))):
        assert found in names, f"{doc} names {found}"


@pytest.mark.parametrize("doc", DOCS, ids=str)
def test_every_module_that_is_started_can_be(doc: Path) -> None:
    for module in re.findall(r"python -m ([\w.]+)", read(doc)):
        assert find_spec(module.rstrip(".")), f"{doc} starts {module}"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PROJECT)))
def test_every_room_says_what_it_is(room: Path) -> None:
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring and len(docstring) > 20


def test_the_readmes_tree_has_every_room_of_tasks() -> None:
    tree = re.search(r"^  search/ .*?(?=^model/)", read(Path("README.md")), flags=re.DOTALL | re.MULTILINE)
    assert tree
    named = {
        room
        for line in tree[0].splitlines()
        if (rooms := re.match(r"  ((?:\w+/ ?)+)", line))
        for room in re.findall(r"\w+(?=/)", rooms[1])
    }
    assert named == {room.name for room in ROOMS if room.parent == PROJECT / "tasks"}


def test_the_readmes_table_of_steps_is_the_codes() -> None:
    rows = re.findall(r"^\| \w+ \| `run\.py (\w+)` \| `(\w+)` \| (.*?) \|", read(Path("README.md")), flags=re.MULTILINE)
    assert {command: parameter for command, parameter, _ in rows} == STEP_COMMANDS
    for _, _, rooms in rows:
        for room in re.findall(r"`(\w+)`", rooms):
            assert (PROJECT / "tasks" / room / "stage.py").exists(), room
