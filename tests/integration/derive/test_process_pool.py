from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import pytest

from tasks.contracts.paths import PROJECT
from tasks.derive.process_pool import Workers

ITEMS = list(range(50))
SIZES = [1 + item % 7 * 100 for item in ITEMS]


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    workers = Workers(request.param)
    workers.start()
    yield workers
    workers.close()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "tasks.derive.process_pool" in " ".join(child.cmdline())]


def done(workers: Workers, work: Callable[[Any], Any], items: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    return workers.take(workers.give(work, items, sizes))


def test_results_come_in_the_order_of_the_items(workers: Workers) -> None:
    assert done(workers, abs, ITEMS, SIZES) == ITEMS
    assert done(workers, abs, [], []) == []
    assert done(workers, str, [7], [1]) == ["7"]


def test_an_error_of_the_work_is_raised_here_and_the_next_work_is_done(workers: Workers) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        done(workers, int, ["1", "two", "3"], [1, 1, 1])
    assert done(workers, abs, ITEMS, SIZES) == ITEMS


def test_much_is_given_before_it_is_taken_in_any_order(workers: Workers) -> None:
    texts = [str(item) * 40_000 for item in ITEMS]  # more than a socket holds, there and back
    upper, lower = (workers.give(work, texts, SIZES) for work in (str.upper, str.lower))
    lengths = workers.give(len, texts, SIZES, urgent=True)
    assert workers.take(lengths) == [len(text) for text in texts]
    assert workers.take(lower) == texts
    assert workers.take(upper) == texts


def test_what_was_given_is_dropped_at_the_end_and_the_next_start_is_a_new_one(workers: Workers) -> None:
    workers.give(str, ITEMS, SIZES)
    workers.close()
    workers.start()
    assert done(workers, abs, ITEMS, SIZES) == ITEMS


def test_the_share_of_a_killed_child_is_done_here() -> None:
    workers = Workers(2)
    workers.start()
    numbers, texts = (workers.give(work, ITEMS, SIZES) for work in (abs, str))
    children()[0].kill()
    assert workers.take(numbers) == ITEMS
    assert workers.take(texts) == [str(item) for item in ITEMS]
    assert done(workers, abs, ITEMS, SIZES) == ITEMS
    assert not children()


def test_a_child_ends_with_its_killed_parent() -> None:
    script = (
        "import psutil, time; from tasks.derive.process_pool import Workers; w = Workers(2); w.start();"
        "print(*[child.pid for child in psutil.Process().children()], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        found = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(found) == 2
    assert not psutil.wait_procs(found, timeout=20)[1]
