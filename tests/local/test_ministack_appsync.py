"""Resolvers under load: MiniStack starts a Node process for every call that no idle one is there for."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import pytest

from local.cloud.ministack_appsync import at_most
from tests.local.stack_process import eventually


def test_a_burst_of_mutations_starts_no_process_for_each() -> None:
    inside, most, lock, gate = 0, 0, Lock(), Event()

    def resolve(number: int, *, timeout: float) -> tuple[int, float]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.wait(60)
        with lock:
            inside -= 1
        return number, timeout

    limited = at_most(2, resolve)
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(limited, number, timeout=30) for number in range(8)]
        eventually(lambda: inside >= 2)
        gate.set()
        assert [result.result() for result in results] == [(number, 30) for number in range(8)]
    assert most == 2


def test_a_resolver_that_fails_leaves_its_place_to_the_next() -> None:
    def fail() -> None:
        raise LookupError

    limited = at_most(1, fail)
    for _ in range(2):
        with pytest.raises(LookupError):
            limited()
