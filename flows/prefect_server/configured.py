"""Which Prefect server is configured. Prefect itself is imported only where one could be: that takes half a second."""

from __future__ import annotations

import os
import re
import tomllib
from base64 import b64encode
from pathlib import Path

import httpx

ANSWER_SECONDS = 5.0
CLOUD = "https://api.prefect.cloud/"
TURN = "miniature-memory.lock"  # in Prefect's home: held by the run that starts a server there
VERSION = re.compile(r"\d+\.\d+")


def configured_url() -> str:
    """Returns the address of the configured server's API; empty where none is configured."""
    return _setting("PREFECT_API_URL")


def answers(url: str) -> bool:
    """Whether a Prefect server is there, and lets us in."""
    return not trouble_with(url)


def trouble_with(url: str) -> str:
    """Returns why the server at `url` cannot be used, as the end of a sentence; empty where it can.

    Asks for the server's version: `/health` needs no password, and anything may answer 200.
    """
    is_cloud = url.startswith(CLOUD)  # which keeps its version to itself
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/{'health' if is_cloud else 'admin/version'}",
            headers=_authorization(),
            timeout=ANSWER_SECONDS,
        )
        if answer.status_code in (401, 403):
            return "does not let us in (set PREFECT_API_AUTH_STRING to its user:password, or PREFECT_API_KEY)"
        is_prefect = answer.is_success and (is_cloud or VERSION.match(str(answer.json())))
    except (httpx.HTTPError, httpx.InvalidURL):
        return "does not answer"
    except ValueError:
        is_prefect = False
    return "" if is_prefect else f"is no Prefect server (HTTP {answer.status_code} at {answer.url})"


def _authorization() -> dict[str, str]:
    """Returns the header by which Prefect's own client is let in."""
    if user_and_password := _setting("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {b64encode(user_and_password.encode()).decode()}"}
    key = _setting("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _setting(name: str) -> str:
    """Returns a setting of Prefect's; empty where it is not set."""
    if name in os.environ:  # before all files, also where it is empty
        return os.environ[name]
    if not _may_name_one():
        return ""
    from prefect import settings

    return getattr(settings, name).value() or ""


def prefect_home() -> Path:
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")


def _may_name_one() -> bool:
    """Whether anything is there that Prefect reads settings from, whatever it says."""
    if os.environ.keys() & {"PREFECT_PROFILE", "PREFECT_PROFILES_PATH"}:
        return True
    home = prefect_home()
    return (
        any(path.is_file() for path in (Path(".env"), Path("prefect.toml"), home / "profiles.toml")) or _in_pyproject()
    )


def _in_pyproject() -> bool:
    path = Path("pyproject.toml")
    try:
        return path.is_file() and "prefect" in tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        return True  # Prefect says what is wrong with it
