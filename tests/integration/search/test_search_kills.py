"""SIGKILL in the midst of a crawl and of a night's questions, under a clock that only the test moves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.contracts.paths import PROJECT
from tasks.contracts.settings import SearchSettings
from tasks.search.frontier import HOUR, Frontier
from tasks.storage.state_db import open_state
from tests.unit.search.test_frontier_hours import LISTING, PAGES
from tests.unit.search.test_source_schedule import EVENING

CRAWL = """
import os, signal, sys
from pathlib import Path
from tests.unit.search.test_frontier_hours import Crawl
crawl, left = Crawl(Path(sys.argv[1])), int(sys.argv[2])
crawl.now, crawl.cooled = crawl.now + float(sys.argv[3]), 1
visit = crawl.visit
def counted(hit, hosts):
    global left
    found = visit(hit, hosts)
    print(hit.url, flush=True)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return found
crawl.visit = counted
crawl.run()
"""


def test_after_sigkill_only_the_batch_in_flight_is_asked_again(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    for run, kill_after in enumerate((7, 1, 13, 0)):
        command: list[Any] = [sys.executable, "-c", CRAWL, tmp_path, str(kill_after), str(60.0 * run)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        assert done.returncode == (-signal.SIGKILL if kill_after else 0)
        asked.update(done.stdout.split())
    db = open_state(tmp_path / "state.sqlite")
    counts = Frontier(db, SearchSettings()).counts()
    db.close()
    assert sum(counts.values()) == len(PAGES) + 1 and "waiting" not in counts
    assert set(asked) == {*PAGES, LISTING}
    assert sum(asked.values()) - len(asked) <= 3 * 5  # three kills, five pages a batch


QUESTIONS = """
import json, os, signal, sys
from pathlib import Path
from tests.unit.search.test_source_schedule import GOOGLE, World
folder, run, kill_at, now = Path(sys.argv[1]), *map(float, sys.argv[2:])
world = World(folder, sources=(GOOGLE,), topics=tuple("abcd"), queries_per_night=5)
world.now = now
provider, done = world.provider, 0
def asked(question, searcher):
    global done
    answer = provider(question, searcher)
    with open(folder / "asked", "a") as file:
        file.write(json.dumps([question.night, question.query, question.page]) + "\\n")
    done += 1
    if done == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
world.provider = asked
world.run()
"""


def test_sigkill_loses_no_rotation_and_repeats_only_the_question_in_flight(tmp_path: Path) -> None:
    now = EVENING
    for run, kill_at in enumerate((2, 3, 0, 1, 0)):
        command = [sys.executable, "-c", QUESTIONS, str(tmp_path), str(run), str(kill_at), str(now)]
        done = subprocess.run(command, cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, check=False)
        assert done.returncode == (-signal.SIGKILL if kill_at else 0)
        now += HOUR if run < 2 else 24 * HOUR if run == 2 else HOUR
    lines = (tmp_path / "asked").read_text().splitlines()
    asked = [tuple(json.loads(line)) for line in lines]
    first, second = asked[0][0], asked[-1][0]
    assert [one[1:] for one in asked if one[0] == first] == [
        *[("a", 0), ("b", 0)],  # killed before b was settled
        *[("b", 0), ("c", 0), ("d", 0)],
        *[("d", 0), ("a", 1)],
    ]
    assert [one[1:] for one in asked if one[0] == second] == [
        *[("b", 1)],
        *[("b", 1), ("c", 1), ("d", 1), ("a", 2), ("b", 2)],
    ]
