"""A training process keeps what it freed."""

import subprocess
import sys

import pytest

from tasks.contracts.paths import PROJECT

FAULTS = """
import resource
import numpy as np
for _ in range(2):  # the second time, the memory is there
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.empty(48_000_000, dtype=np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_not_asked_for_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import model.training.malloc" + FAULTS],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 100  # pages; without, thousands
