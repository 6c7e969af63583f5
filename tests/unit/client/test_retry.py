from tokenstream_client.client import IDLE_TIMEOUT
from tokenstream_client.retry import Backoff, RetryPolicy

POLICY = RetryPolicy(first_delay=1, longest_delay=4)


def test_delays_double_up_to_a_limit() -> None:
    backoff = Backoff(POLICY, jitter=lambda: 1.0)
    assert [backoff.next_delay(0, budget=60) for _ in range(5)] == [1, 2, 4, 4, 4]


def test_up_to_half_of_a_delay_is_random() -> None:
    assert Backoff(POLICY, jitter=lambda: 0.0).next_delay(0, budget=60) == 0.5


def test_progress_starts_over_delays_and_budget() -> None:
    backoff = Backoff(POLICY, jitter=lambda: 1.0)
    backoff.next_delay(0, budget=3)
    backoff.next_delay(1, budget=3)
    backoff.progress()
    assert backoff.next_delay(100, budget=3) == 1


def test_the_servers_retry_after_is_kept() -> None:
    assert Backoff(POLICY, jitter=lambda: 1.0).next_delay(0, budget=60, retry_after=7) == 7


def test_tries_end_with_the_budget() -> None:
    backoff = Backoff(POLICY, jitter=lambda: 1.0)
    assert backoff.next_delay(10, budget=5) == 1
    assert backoff.next_delay(13, budget=5) == 2
    assert backoff.next_delay(14, budget=5) is None


def test_a_retry_after_beyond_the_budget_is_not_waited_for() -> None:
    assert Backoff(POLICY).next_delay(0, budget=5, retry_after=6) is None


def test_a_dead_workers_stream_is_not_given_up_before_its_recovery_can_have_begun() -> None:
    lease, sweep, start = 30, 60, 10
    policy = RetryPolicy()
    backoff = Backoff(policy, jitter=lambda: 0.0)
    now = IDLE_TIMEOUT  # each connection is taken for broken after this silence
    while (delay := backoff.next_delay(now, budget=policy.resume_budget)) is not None:
        now += delay + IDLE_TIMEOUT
    assert now > lease + sweep + start
