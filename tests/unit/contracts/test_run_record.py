"""What a run keeps of itself."""

from __future__ import annotations

import time

import pytest

from tasks.contracts import run_record
from tasks.contracts.run_record import RunRecord, Silent


def test_memory_is_of_stages_and_of_nothing_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_record, "SAMPLE_SECONDS", 0.001)
    record = RunRecord("demo", Silent())
    with record.watching_memory():
        time.sleep(0.1)
        assert record.stages == {}
        with record.stage("search"):
            deadline = time.monotonic() + 10
            while not any(stage.peak_bytes for stage in record.stages.values()):  # while it runs, not at its end alone
                assert time.monotonic() < deadline
                time.sleep(0.01)
        time.sleep(0.1)
    assert list(record.stages) == ["search"]
