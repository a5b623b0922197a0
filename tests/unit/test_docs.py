"""The guide agrees with the code, and the commands in the README exist."""

from __future__ import annotations

import re
from pathlib import Path

from docs import generate
from run import parse_arguments

PROJECT = Path(__file__).resolve().parents[2]


def test_the_guides_tables_are_the_codes() -> None:
    guide = generate.GUIDE.read_text(encoding="utf-8")
    assert generate.fill(guide) == guide, "run: python -m docs.generate"


def test_every_command_in_the_readme_is_understood() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"run\.py([^\n#`]*?)(?:\s+#.*)?$", readme, re.MULTILINE)
    commands = [command for command in commands if not command.strip().startswith((")", ",", ";"))]
    assert len(commands) >= 8
    for command in commands:
        parse_arguments([part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)])


def test_every_file_that_the_docs_name_exists() -> None:
    for name in ("README.md", "DEVELOPER_GUIDE.md"):
        text = (PROJECT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert "://" in target or (PROJECT / target).exists(), f"{name} names {target}"
