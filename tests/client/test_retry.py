"""When a request is tried again."""

from datetime import UTC, datetime

import pytest

from sync_client.retry import RetryPolicy, is_temporary, retry_after_seconds

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def test_waits_double_up_to_the_cap_and_are_spread() -> None:
    policy = RetryPolicy(base_seconds=1, cap_seconds=10)
    assert [policy.wait_seconds(attempt, 1.0) for attempt in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert [policy.wait_seconds(attempt, 0.0) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]
    assert policy.wait_seconds(10**6, 1.0) == 10


def test_a_number_of_attempts_and_patience_end_it() -> None:
    policy = RetryPolicy(attempts=3, base_seconds=1, patience_seconds=60)
    assert [policy.next_wait_seconds(attempt, 1.0, 0) for attempt in (1, 2, 3)] == [1, 2, None]
    assert [policy.next_wait_seconds(1, 1.0, asked) for asked in (0.5, 7, 60, 61)] == [1, 7, 60, None]


def test_without_end_the_service_is_asked_again_after_the_longest_wait() -> None:
    policy = RetryPolicy(endless=True, patience_seconds=60)
    assert [policy.next_wait_seconds(10**6, 1.0, asked) for asked in (0, 30, 1e9, float("inf"))] == [15, 30, 60, 60]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("3", 3),
        ("Thu, 15 Jan 2026 10:30:20 GMT", 20),
        ("Thu, 15 Jan 2026 10:29:00 GMT", 0),
        ("-1", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_which_statuses_are_temporary() -> None:
    statuses = (400, 401, 408, 409, 413, 422, 425, 429, 500, 503)
    assert [status for status in statuses if is_temporary(status)] == [408, 425, 429, 500, 503]
