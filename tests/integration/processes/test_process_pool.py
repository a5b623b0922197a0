"""The pool of child processes: right results in the right order, whatever happens to a child."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from tasks.contracts.paths import PROJECT
from tasks.processes.process_pool import ProcessDied, ProcessPool, Spread

ITEMS = list(range(50))
SIZES = [1 + item % 7 * 100 for item in ITEMS]


@pytest.fixture(params=[None, 1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPool | None]:
    if request.param is None:
        yield None
        return
    with ProcessPool(request.param) as opened:
        yield opened


def test_results_come_in_the_order_of_the_items(pool: ProcessPool | None) -> None:
    assert Spread(abs, ITEMS, SIZES, pool).results() == ITEMS
    assert Spread(abs, [], [], pool).results() == []
    assert Spread(str, [7], [1], pool).results() == ["7"]


def test_an_error_of_the_work_is_raised_here_and_the_next_work_is_done(pool: ProcessPool | None) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        Spread(int, ["1", "two", "3"], [1, 1, 1], pool).results()
    assert Spread(abs, ITEMS, SIZES, pool).results() == ITEMS


def test_much_is_submitted_before_it_is_asked_for_in_any_order(pool: ProcessPool | None) -> None:
    texts = [str(item) * 40_000 for item in ITEMS]  # more than a socket holds, there and back
    upper, lower = (Spread(work, texts, SIZES, pool) for work in (str.upper, str.lower))
    lengths = Spread(len, texts, SIZES, pool, urgent=True)
    assert lengths.results() == [len(text) for text in texts]
    assert lower.results() == texts
    assert upper.results() == texts
    assert upper.results() == texts, "asked for again"


def test_urgent_work_passes_what_waits() -> None:
    with ProcessPool(1) as pool:
        ended: list[str] = []
        slow = pool.submit(time.sleep, 0.5)
        for name, urgent in (("first", False), ("second", False), ("urgent", True)):
            future = pool.submit(str, name, urgent=urgent)
            future.add_done_callback(lambda done: ended.append(done.result()))
        slow.result()
        assert future.result() == "urgent"
        pool.submit(str, "last").result()
    assert ended == ["urgent", "first", "second"]


def test_one_child_serves_while_one_is_enough() -> None:
    with ProcessPool(3) as pool:
        assert pool.pids == []
        for item in ITEMS:
            assert pool.submit(abs, item).result() == item
        [pid] = pool.pids
        assert pid != os.getpid()


def test_the_share_of_a_killed_child_is_done_here() -> None:
    with ProcessPool(2) as pool:
        for future in [pool.submit(time.sleep, 0.3) for _ in range(2)]:
            future.result()
        numbers, texts = (Spread(work, ITEMS, SIZES, pool) for work in (abs, partial(str)))
        psutil.Process(pool.pids[0]).kill()
        assert numbers.results() == ITEMS
        assert texts.results() == [str(item) for item in ITEMS]
        assert Spread(abs, ITEMS, SIZES, pool).results() == ITEMS


def test_a_call_past_the_deadline_costs_its_child_and_nothing_else() -> None:
    with ProcessPool(1, seconds=0.5) as pool:
        assert pool.submit(abs, -1).result() == 1
        before = pool.pids
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"0\.5 s"):
            pool.submit(time.sleep, 60).result()
        assert time.monotonic() - began < 10
        assert pool.submit(abs, -2).result() == 2
        assert pool.pids != before and not psutil.pid_exists(before[0])


def test_a_child_that_died_is_said_and_replaced() -> None:
    with ProcessPool(1) as pool:
        with pytest.raises(ProcessDied, match="its process ended"):
            pool.submit(os._exit, 3).result()
        assert pool.submit(abs, -1).result() == 1


def test_what_was_submitted_is_cancelled_at_the_end() -> None:
    with ProcessPool(1) as pool:
        running, waiting = pool.submit(time.sleep, 60), pool.submit(time.sleep, 60)
        while not running.running() or not pool.pids:
            time.sleep(0.01)
        children = [psutil.Process(pid) for pid in pool.pids]
    assert waiting.cancelled() and isinstance(running.exception(), ProcessDied)
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_child_ends_with_its_killed_parent(busy: bool) -> None:
    script = (
        "import time; from tasks.processes.process_pool import ProcessPool; p = ProcessPool(2)\n"
        "for future in [p.submit(time.sleep, 0.5), p.submit(time.sleep, 0.5)]: future.result()\n"
        f"busy = [p.submit(time.sleep, 60) for _ in range(2 * {busy})]\n"
        "print(*p.pids, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        found = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(found) == 2
    assert not psutil.wait_procs(found, timeout=20)[1]
