"""How the training process tells what happens: one JSON-able event at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
Report = Callable[[Event], None]
