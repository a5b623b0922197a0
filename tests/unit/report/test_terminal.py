"""What a night tells: on terminals, in a pipe, and where nobody listens any more."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from tasks.contracts.paths import PROJECT
from tasks.report.terminal import Terminal


def test_a_night_goes_on_when_the_reader_of_its_messages_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = "from tasks.report.terminal import Terminal\nfor _ in range(3): Terminal().message('x')\nprint('went on')"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=writing, timeout=60, check=False)
    os.close(writing)
    assert done.stdout == b"went on\n"


NIGHT = """
from tasks.report import terminal
terminal.SURE_SECONDS = 0.0
shown = terminal.Terminal()
shown.message("demo site: [810] articles")
for done in (0, 400, 810):
    shown.progress("collect", done, 810, "")
for step in (1, 700):
    shown.progress("train", step, 1400, "loss 3.123 nats/token")
shown.message("published")
"""


def on_a_terminal(columns: int, **variables: str) -> str:
    """Returns all that the night wrote to a terminal so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color"} | variables
    child = subprocess.Popen([sys.executable, "-c", NIGHT], cwd=PROJECT, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    with suppress(OSError):  # EIO: the child has ended
        while piece := os.read(ours, 4096):
            written += piece
    os.close(ours)
    assert child.wait(timeout=60) == 0
    return written.decode()


@pytest.mark.parametrize("columns", [40, 80])
def test_on_a_terminal_progress_is_one_line_that_moves(columns: int) -> None:
    written = on_a_terminal(columns)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in re.split(r"[\r\n]+", written)]
    moving = [frame for frame in frames if frame.startswith(("collect ", "train "))]
    assert all(len(frame) <= columns for frame in moving)
    assert any("400 of 810" in frame and "<1 min left" in frame for frame in moving)
    assert any("700 of 1,400" in frame and "<1 min left" in frame for frame in moving)
    assert any("loss 3.123" in frame for frame in moving) == (columns == 80)
    assert "demo site: [810] articles" in frames and "published" in frames
    # The line is wiped before a message, and the cursor never stays hidden.
    assert written.rindex("\x1b[2K") < written.index("published")
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_a_terminal_that_cannot_move_gets_plain_lines() -> None:
    assert "\x1b" not in on_a_terminal(80, TERM="dumb")


def test_in_a_pipe_progress_is_plain_lines_now_and_then() -> None:
    command = [sys.executable, "-c", NIGHT]
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == ["demo site: [810] articles", "collect: 0 of 810", "published"]


def test_what_is_left_is_guessed_from_the_speed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shown = [100.0], Terminal()
    lines: list[str] = []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(shown, "_write", lines.append)
    for seconds, done in ((0, 200), (2, 220), (60, 300), (180, 600), (240, 1200)):
        now[0], shown.told = 100.0 + seconds, 0.0
        shown.progress("train", done, 1200, "loss 3")
    assert lines == [
        "train: 200 of 1,200 loss 3\n",
        "train: 220 of 1,200 loss 3\n",  # too early to say
        "train: 300 of 1,200 loss 3, 9 min left\n",
        "train: 600 of 1,200 loss 3, 4 min left\n",
        "train: 1,200 of 1,200 loss 3\n",
    ]
