"""Reads a profile: a TOML file, checked and built into the frozen dataclasses of `settings.py`."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.contracts.errors import SettingsError
from tasks.contracts.paths import PROJECT
from tasks.contracts.settings import SearchSettings, Settings, Source


def find_profile(name_or_path: str) -> Path:
    """Returns the file of a profile: `demo` -> `deployments/demo.toml`; with a slash or `.toml` it is a path."""
    path = Path(name_or_path).expanduser()
    if path.suffix != ".toml" and len(path.parts) == 1:
        path = PROJECT / "deployments" / f"{name_or_path}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in (PROJECT / "deployments").glob("*.toml")))
        raise SettingsError(f"no profile {name_or_path!r} ({path} is not there). Shipped ones: {shipped}.")
    return path


def load_settings(profile: str = "nightly", overrides: Mapping[str, Any] | None = None) -> Settings:
    """Reads a profile. `overrides` maps dotted names ("train.steps") to values that win over the file.

    Raises:
        SettingsError: names the file, the field, and what is allowed.
    """
    path = find_profile(profile)
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    values.setdefault("name", re.sub(r"[^\w.-]+", "_", path.stem)[:60])
    for name, value in (overrides or {}).items():
        _override(values, name, value)
    try:
        settings: Settings = _build(Settings, values, "")
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    search, demo = _with_absolute_paths(settings.search, path.parent), settings.demo
    if demo.novels:
        demo = dataclasses.replace(demo, novels=_absolute(demo.novels, path.parent))
    if demo.serve:
        address = f"127.0.0.1:{demo.port}"
        start = Source("site", url=f"http://{address}/", max_depth=6)
        opened = (*search.allow_loopback, address)
        search = dataclasses.replace(search, sources=(start, *search.sources), allow_loopback=opened)
    return dataclasses.replace(settings, search=search, demo=demo)


def parse_override(text: str) -> tuple[str, Any]:
    """Parses `train.steps=50` into ("train.steps", 50). The value is TOML; anything else is taken as a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError(f"--set {text!r}: write it as section.field=value, for example train.steps=50")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:  # no TOML, or a number of thousands of digits
        return name.strip(), value


def _override(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {dotted}: {section} is no section")
    values[last] = value


def _with_absolute_paths(search: SearchSettings, folder: Path) -> SearchSettings:
    sources = tuple(
        dataclasses.replace(one, file=_absolute(one.file, folder)) if one.file else one for one in search.sources
    )
    blocklists = tuple(_absolute(path, folder) for path in search.blocklists)
    return dataclasses.replace(search, sources=sources, blocklists=blocklists)


def _absolute(path: str, folder: Path) -> str:
    """A profile names files relative to its own folder."""
    return str((folder / Path(path).expanduser()).resolve())


# -- checking --------------------------------------------------------------------------------------------


def _build(kind: Any, values: Any, section: str) -> Any:
    """Builds a dataclass from a TOML table."""
    if not isinstance(values, dict):
        raise SettingsError(f"{section} must be a table, not {values!r}")
    types = typing.get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind) if one.repr}  # what is not shown is no setting
    built = {}
    for name, value in values.items():
        full_name = f"{section}.{name}".removeprefix(".")
        if name not in fields:
            raise SettingsError(f"unknown setting {full_name}. Allowed here: {', '.join(sorted(fields))}.")
        built[name] = _convert(types[name], value, fields[name].metadata, full_name)
    try:
        return kind(**built)
    except SettingsError as error:  # from __post_init__
        raise SettingsError(f"{section}: {error}") from error


def _convert(kind: Any, value: Any, limits: Mapping[str, Any], name: str) -> Any:
    """Returns a TOML value as a field of type `kind` holds it."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, name)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise SettingsError(f"{name} must be a list, not {value!r}")
        item_kind = typing.get_args(kind)[0]
        return tuple(_convert(item_kind, item, limits, f"{name}[{i}]") for i, item in enumerate(value))
    if type(value) is int and abs(value) >= 2**63:
        raise SettingsError(f"{name} must be a number of less than 19 digits")
    if kind is float and type(value) is int:
        value = float(value)
    required = kind.__name__ if type(value) is not kind else _broken_limit(value, **limits)
    if required:
        raise SettingsError(f"{name} must be {required}, not {value!r}")
    return value


def _broken_limit(value: Any, minimum: Any, maximum: Any, choices: tuple[str, ...], **_: Any) -> str:
    """Returns what a value must be and is not; "" where it is allowed."""
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if minimum is not None and value < minimum:
        return f"at least {minimum}"
    if maximum is not None and value > maximum:
        return f"at most {maximum}"
    return ""
