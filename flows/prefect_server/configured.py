"""Which Prefect server is configured. Prefect itself is imported only where one could be: that takes half a second."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import httpx

ANSWER_SECONDS = 5.0


def configured_url() -> str:
    """Returns the address of the configured server's API; empty where none is configured."""
    if "PREFECT_API_URL" in os.environ:  # before all files, also where it is empty
        return os.environ["PREFECT_API_URL"]
    if not _may_name_one():
        return ""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value() or ""


def answers(url: str) -> bool:
    """Whether a server is there and well."""
    try:
        return httpx.get(f"{url.rstrip('/')}/health", timeout=ANSWER_SECONDS).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _may_name_one() -> bool:
    """Whether anything is there that Prefect reads settings from, whatever it says."""
    if os.environ.keys() & {"PREFECT_PROFILE", "PREFECT_PROFILES_PATH"}:
        return True
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return (
        any(path.is_file() for path in (Path(".env"), Path("prefect.toml"), home / "profiles.toml")) or _in_pyproject()
    )


def _in_pyproject() -> bool:
    path = Path("pyproject.toml")
    try:
        return path.is_file() and "prefect" in tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return True  # Prefect says what is wrong with it
