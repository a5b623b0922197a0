"""What a night tells, where nobody listens any more."""

import os
import subprocess
import sys

from tasks.contracts.paths import PROJECT


def test_a_night_goes_on_when_the_reader_of_its_messages_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = "from tasks.report.terminal import Terminal\nfor _ in range(3): Terminal().message('x')\nprint('went on')"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=writing, timeout=60, check=False)
    os.close(writing)
    assert done.stdout == b"went on\n"
