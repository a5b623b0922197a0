"""Finishes a forgetting that a kill has cut, when the next run opens the data directory."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.contracts.paths import Layout
from tasks.forget.erasure import ExternalEraser, finish, nowhere_else, recover_lines
from tasks.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ForgettingRecovery:
    """`external`: clears Prefect's memory; without it, a forgetting that still needs that is refused."""

    external: ExternalEraser | None = None

    def before_opening(self, layout: Layout) -> None:
        recover_lines(layout, self.external)

    def finish(self, run: RunContext) -> None:
        if run.layout.intent.exists():
            run.record.say("a forgetting was cut: finishing it first")
            for sentence in finish(run, self.external or nowhere_else):
                run.record.say(f"not cleared: {sentence}")
