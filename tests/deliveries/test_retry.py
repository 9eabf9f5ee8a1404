"""When a delivery is tried again, and how fast a subscriber is sent to."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deliveries.policy import allowed, delay, max_attempts, next_attempt, slow_delay

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
FIVE_SECONDS = timedelta(seconds=5)
HOURS_72 = timedelta(hours=72)
INTERVALS = st.floats(0.001, 86_400).map(lambda seconds: timedelta(seconds=seconds))


def test_each_delay_is_three_times_the_one_before_up_to_eight_hours() -> None:
    seconds = [delay(attempts, FIVE_SECONDS).total_seconds() for attempts in range(1, 12)]
    assert seconds == [5, 15, 45, 135, 405, 1215, 3645, 10935, 28800, 28800, 28800]


@given(INTERVALS, st.integers(1, 32_767))
def test_no_number_of_attempts_is_too_large(interval: timedelta, attempts: int) -> None:
    assert interval <= delay(attempts, interval) <= max(timedelta(hours=8), interval)
    assert delay(attempts + 1, interval) >= delay(attempts, interval)


def test_by_default_a_delivery_has_seventeen_attempts_in_three_days() -> None:
    assert max_attempts(FIVE_SECONDS, HOURS_72) == 17
    ends = list(accumulate((delay(attempts, FIVE_SECONDS) for attempts in range(1, 18)), initial=timedelta()))
    assert ends[16] <= HOURS_72 < ends[17]


@pytest.mark.parametrize(
    ("seconds", "attempts"), [(0.001, 1), (4.9, 1), (5, 2), (19.9, 2), (20, 3), (3600, 7), (8760 * 3600, 1103)]
)
def test_as_many_attempts_as_begin_within_the_period(seconds: float, attempts: int) -> None:
    assert max_attempts(FIVE_SECONDS, timedelta(seconds=seconds)) == attempts


def test_attempts_that_failed_together_do_not_come_back_together() -> None:
    at = [next_attempt(NOW, 2, FIVE_SECONDS, partial(float, number)) for number in (0, 0.5, 1)]
    assert [(one - NOW).total_seconds() for one in at] == [12, 15, 18]


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 5), (0, 5), (3, 5), (60, 60), (86_400, 86_400), (86_401, 86_400), (1e18, 86_400)]
)
def test_never_before_what_was_asked_for_of_which_a_day_counts(asked: float | None, seconds: float) -> None:
    assert next_attempt(NOW, 1, FIVE_SECONDS, lambda: 0.5, asked) == NOW + timedelta(seconds=seconds)


def test_a_slowed_subscription_waits_a_second_doubling_up_to_five_minutes() -> None:
    seconds = [slow_delay(count, lambda: 0.5).total_seconds() for count in range(1, 12)]
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert [slow_delay(1, partial(float, number)).total_seconds() for number in (0, 1)] == [0.8, 1.2]
    assert slow_delay(32_767, lambda: 0.5) == timedelta(minutes=5)


def test_a_rate_allows_a_second_of_it_at_once_and_then_no_more() -> None:
    count, next_send_at = allowed(None, NOW, 10, 100)
    assert count == 10
    assert allowed(next_send_at, NOW, 10, 100) == (0, next_send_at)
    assert allowed(next_send_at, NOW + timedelta(milliseconds=250), 10, 100)[0] == 2


@pytest.mark.parametrize(
    ("rate", "at_most", "count"), [(0.1, 5, 1), (1, 5, 1), (2.5, 5, 2), (1000, 7, 7), (1e9, 7, 7), (5, 0, 0)]
)
def test_at_first_it_allows_as_much_as_a_second_does_and_one_at_least(rate: float, at_most: int, count: int) -> None:
    assert allowed(None, NOW, rate, at_most)[0] == count


def test_what_was_not_used_for_long_is_not_saved_up() -> None:
    assert allowed(NOW - timedelta(days=1), NOW, 10, 100)[0] == 10


@given(
    st.floats(0.05, 5000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 500)), min_size=1, max_size=50),
)
def test_over_any_time_the_rate_holds(rate: float, looks: list[tuple[float, int]]) -> None:
    now, next_send_at, sent = NOW, None, 0
    for pause_seconds, wanted in looks:
        now += timedelta(seconds=pause_seconds)
        count, after = allowed(next_send_at, now, rate, wanted)
        assert 0 <= count <= wanted
        if count:
            next_send_at, sent = after, sent + count
    assert sent <= (now - NOW).total_seconds() * rate * 1.01 + max(rate, 1) + 1


def test_looking_often_enough_reaches_the_rate() -> None:
    next_send_at, sent = None, 0
    for milliseconds in range(0, 10_000, 100):
        count, next_send_at = allowed(next_send_at, NOW + timedelta(milliseconds=milliseconds), 50, 100)
        sent += count
    assert 500 <= sent <= 550
