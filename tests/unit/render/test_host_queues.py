import threading
import time
from collections.abc import Callable

import pytest

from tasks.render.host_queues import HostQueues


def queues(
    work: Callable[[str], str],
    workers: int = 4,
    ready: dict[str, float] | None = None,
    stop: threading.Event | None = None,
) -> HostQueues[str, str]:
    times = ready or {}
    return HostQueues(work, lambda item: item[0], lambda host: times.get(host, 0.0), workers, stop or threading.Event())


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_results_come_in_the_order_given_and_a_host_goes_one_by_one(workers: int) -> None:
    begun: list[str] = []
    under_way: set[str] = set()

    def work(item: str) -> str:
        assert item[0] not in under_way
        under_way.add(item[0])
        begun.append(item)
        time.sleep(0.002)
        under_way.remove(item[0])
        return item.upper()

    items = [f"{host}{number}" for number in range(5) for host in "abc"]
    assert queues(work, workers).run(items) == [item.upper() for item in items]
    for host in "abc":
        assert [item for item in begun if item[0] == host] == [f"{host}{number}" for number in range(5)]


def test_the_host_that_is_ready_first_comes_first() -> None:
    begun: list[str] = []

    def work(item: str) -> str:
        begun.append(item)
        time.sleep(0.01)
        return item

    queues(work, workers=2, ready={"a": 30.0, "b": 10.0, "c": 20.0}).run(["a1", "b1", "c1", "a2", "b2"])
    assert begun[0] == "b1" and begun.index("c1") < begun.index("a1")


def test_a_failure_is_raised_and_nothing_further_is_begun() -> None:
    begun: list[str] = []

    def work(item: str) -> str:
        begun.append(item)
        if item == "a1":
            raise RuntimeError("broken")
        time.sleep(0.05)
        return item

    with pytest.raises(RuntimeError, match="broken"):
        queues(work, workers=2).run(["a1", "b1", *(f"b{number}" for number in range(2, 20))])
    time.sleep(0.2)
    assert len(begun) <= 3


def test_when_stopped_nothing_further_is_begun() -> None:
    stop, begun = threading.Event(), []

    def work(item: str) -> str:
        begun.append(item)
        stop.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queues(work, workers=2, stop=stop).run(["a1", "b1", "a2", "b2", "c1"])
    assert len(begun) <= 2


def test_nothing_to_do() -> None:
    assert queues(str.upper).run([]) == []
