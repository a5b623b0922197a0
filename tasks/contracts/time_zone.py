"""The time zone of the clock of the person whose machine this is.

Prefect wants its name, such as Europe/Berlin; a machine tells its own in several ways.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

ZONES = Path("/usr/share/zoneinfo")


@dataclass(frozen=True, slots=True)
class TimeZone:
    """A time zone of the IANA database, and what named it."""

    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


def local_zone(environ: Mapping[str, str] = os.environ, etc: Path = Path("/etc")) -> TimeZone:
    """Returns the time zone of this machine's clock; UTC where nothing tells it.

    The first counts of MINIATURE_MEMORY_TIMEZONE, TZ, /etc/localtime, /etc/timezone.

    Raises:
        ValueError: a variable names no time zone.
    """
    for variable in ("MINIATURE_MEMORY_TIMEZONE", "TZ"):
        if value := environ.get(variable, "").strip():
            name = value.removeprefix(":").rpartition("zoneinfo/")[2]
            if not _is_zone(name):
                raise ValueError(
                    f"{variable}={value} is no name of a time zone: set MINIATURE_MEMORY_TIMEZONE, such as Europe/Rome"
                )
            return TimeZone(name, variable)
    localtime, timezone = etc / "localtime", etc / "timezone"
    linked = os.path.realpath(localtime).rpartition("zoneinfo/")[2]
    if localtime.is_symlink() and _is_zone(linked):
        return TimeZone(linked, str(localtime))
    if localtime.is_file() and (same := _zone_like(localtime.read_bytes())):
        return TimeZone(same, str(localtime))
    named = timezone.read_text(encoding="utf-8").strip() if timezone.is_file() else ""
    if _is_zone(named):
        return TimeZone(named, str(timezone))
    return TimeZone("UTC", "nothing here names another one; MINIATURE_MEMORY_TIMEZONE can")


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder; a path; no such zone
        return False
    return True


def _zone_like(content: bytes) -> str | None:
    """Returns a zone with these rules: a container is often given a copy of its host's /etc/localtime."""
    for name in sorted(available_timezones(), key=lambda name: ("/" not in name, name.startswith("Etc/"), name)):
        path = ZONES / name
        if path.is_file() and path.read_bytes() == content:
            return name
    return None
