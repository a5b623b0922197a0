"""The folders of a lineage: `checkpoints/step_<n>` and `models/<n>`."""

from __future__ import annotations

import re
from pathlib import Path


def checkpoint_folder(checkpoints_dir: Path, step: int) -> Path:
    return checkpoints_dir / f"step_{step}"


def checkpoint_folders(checkpoints_dir: Path) -> dict[int, Path]:
    """Returns every `step_<n>`, whole or not, by its step, the oldest first."""
    return _by_step(checkpoints_dir, r"step_(\d+)")


def model_folders(models_dir: Path) -> dict[int, Path]:
    """Returns every published model by its step, the oldest first."""
    return _by_step(models_dir, r"(\d+)")


def _by_step(directory: Path, pattern: str) -> dict[int, Path]:
    paths = [path for path in directory.iterdir() if path.is_dir()] if directory.exists() else []
    return dict(sorted((int(match[1]), path) for path in paths if (match := re.fullmatch(pattern, path.name))))
