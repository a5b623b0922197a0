"""How the training process tells what happens: one JSON-able event at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Report = Callable[[dict[str, Any]], None]
