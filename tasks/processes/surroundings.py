"""What libraries and children find when they start: a home that can be written, and open standard streams."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def give_home(folder: Path) -> None:
    """Names `folder` as HOME where there is none that can be written, or made: Prefect and Chromium keep files there.

    A container's bare number of a user has no line in /etc/passwd, and Docker gives it `/` as its home.
    """
    home = Path(os.path.expanduser("~"))  # as it stands where nothing tells it
    existing = next(one for one in (home, *home.parents) if one.exists())
    if not (home.is_absolute() and existing.is_dir() and os.access(existing, os.W_OK)):
        folder.mkdir(exist_ok=True)
        os.environ["HOME"] = str(folder)


def open_standard_streams() -> None:
    """Opens those that the caller closed on /dev/null: else the next file that is opened is one of them to children."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
