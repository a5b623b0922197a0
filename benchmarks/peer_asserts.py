"""Runs the assertions of a peer's Python tests, one by one, with functions of ours under the peer's names.

Only what assertions are made of is evaluated: assignments, `for` loops, the rows of `pytest.mark.parametrize`. What
needs anything else of the peer's module is not ours to answer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Names = dict[str, Any]
Cases = Iterator[tuple[str, bool | None, str]]


class NotOurs(Exception):
    """A case asks for something that we have no function for."""


def asserted(path: Path, ours: Names) -> Cases:
    """Yields each assertion: the test and its number, whether it holds (None: not ours), and its source."""
    for test in ast.walk(ast.parse(path.read_text())):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test"):
            number = 0
            for row in _rows(test, ours):
                for holds, source in _run(test.body, ours | row):
                    yield f"{test.name}:{number}", holds, source
                    number += 1


def _rows(test: ast.FunctionDef, ours: Names) -> Iterator[Names]:
    """Yields the arguments of each call of a test. One row without any where it is called once."""
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
            try:
                names, rows = (_value(argument, ours) for argument in mark.args)
            except Exception:  # the rows are computed from other things of the peer's
                return
            names = [names] if isinstance(names, str) else list(names)
            yield from (dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in rows)
            return
    yield {}


def _run(body: list[ast.stmt], names: Names) -> Iterator[tuple[bool | None, str]]:
    for step in body:
        if isinstance(step, ast.Assign):
            _assign(step.targets[0], step.value, names)
        elif isinstance(step, ast.If | ast.For) and any(isinstance(one, ast.If) for one in ast.walk(step)):
            _forget(step, names)
        elif isinstance(step, ast.For):
            try:
                items = list(_value(step.iter, names))
            except Exception:  # as above
                items = []
            for item in items:
                _bind(step.target, item, names)
                yield from _run(step.body, names)
        elif isinstance(step, ast.Assert):
            yield _holds(step.test, names), ast.unparse(step.test)
        elif isinstance(step, ast.Expr) and ast.unparse(step.value).startswith("self._assert"):
            yield _holds(step.value, names), ast.unparse(step.value)


def _holds(test: ast.expr, names: Names) -> bool | None:
    try:
        return bool(_value(test, names))
    except (NotOurs, NameError, AttributeError):
        return None
    except Exception:  # an error of ours is no agreement
        return False


def _assign(target: ast.expr, value: ast.expr, names: Names) -> None:
    try:
        _bind(target, _value(value, names), names)
    except Exception:  # what uses it is not ours
        _forget(target, names)


def _forget(node: ast.AST, names: Names) -> None:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            names.pop(one.id, None)


def _bind(target: ast.expr, value: Any, names: Names) -> None:
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, ast.Tuple):
        for one, part in zip(target.elts, value, strict=True):
            _bind(one, part, names)


def _value(node: ast.expr, names: Names) -> Any:
    safe = {"isinstance": isinstance, "str": str, "bytes": bytes, "len": len, "list": list, "set": set, "range": range}
    return eval(compile(ast.Expression(node), "<peer>", "eval"), {"__builtins__": safe}, names)
