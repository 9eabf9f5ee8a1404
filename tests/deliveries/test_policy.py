"""The pure rules: what becomes of a delivery and when, the health of a subscription, who gets the slots."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.deliveries.policy import (
    MAX_SLOW_COUNT,
    RetryDecision,
    RetryPolicy,
    Slots,
    allowed,
    decide,
    delay,
    has_failed_for,
    max_attempts,
    next_attempt,
    record_outcome,
    slow_delay,
)
from app.subscriptions.models import Outcome, Subscription

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
POLICY = RetryPolicy(timedelta(seconds=5), 3, timedelta(days=5))
SLOWING = [outcome for outcome in Outcome if outcome.slows]
COUNTED = [Outcome.FAILED, Outcome.TIMEOUT, Outcome.REFUSED]
FIVE_SECONDS = timedelta(seconds=5)
HOURS_72 = timedelta(hours=72)
INTERVALS = st.floats(0.001, 86_400).map(lambda seconds: timedelta(seconds=seconds))


def middle() -> float:
    """No jitter."""
    return 0.5


def decision(outcome: Outcome, failures: int = 0, retry_after_seconds: float | None = None) -> RetryDecision:
    return decide(outcome, failures, NOW, POLICY, random=middle, retry_after_seconds=retry_after_seconds)


def health(**changes: datetime | int | None) -> Subscription:
    return Subscription(**{"failing_since": None, "slow_until": None, "slow_count": 0, **changes})


def record(one: Subscription, outcome: Outcome, now: datetime = NOW, retry_after_seconds: float | None = None) -> None:
    record_outcome(one, outcome, now, middle, retry_after_seconds)


def test_a_success_settles() -> None:
    assert decision(Outcome.DELIVERED, 2) == ("delivered", None, 2)


@pytest.mark.parametrize("outcome", [*COUNTED, *SLOWING])
def test_a_failure_counts_and_the_last_one_kills(outcome: Outcome) -> None:
    assert decision(outcome) == ("pending", NOW + timedelta(seconds=5), 1)
    assert decision(outcome, 1) == ("pending", NOW + timedelta(seconds=15), 2)
    assert decision(outcome, 2) == ("dead", None, 3)


def test_it_waits_for_as_long_as_the_receiver_asks() -> None:
    assert decision(Outcome.FAILED, retry_after_seconds=60).due_at == NOW + timedelta(seconds=60)


def test_the_end_of_the_subscription_counts_against_no_delivery() -> None:
    assert decision(Outcome.GONE, 2) == ("pending", NOW, 2)


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.DELIVERED])
def test_it_fails_since_its_first_failure(outcome: Outcome) -> None:
    one = health()
    record(one, outcome)
    record(one, outcome, NOW + timedelta(days=5))
    assert one.failing_since == NOW
    assert has_failed_for(one, timedelta(days=5), NOW + timedelta(days=5))
    assert not has_failed_for(one, timedelta(days=5), NOW + timedelta(days=4, hours=23))


def test_a_success_clears_everything() -> None:
    one = health(failing_since=NOW - timedelta(days=9), slow_until=NOW, slow_count=5)
    record(one, Outcome.DELIVERED)
    assert (one.failing_since, one.slow_until, one.slow_count) == (None, None, 0)
    assert not has_failed_for(one, timedelta(days=5), NOW)


def test_a_success_that_was_under_way_meanwhile_ends_no_pause() -> None:
    one = health()
    record(one, Outcome.SLOW_DOWN, retry_after_seconds=60)
    record(one, Outcome.DELIVERED)
    assert (one.failing_since, one.slow_until, one.slow_count) == (None, NOW + timedelta(seconds=60), 1)
    record(one, Outcome.DELIVERED, NOW + timedelta(seconds=60))
    assert (one.slow_until, one.slow_count) == (None, 0)


@pytest.mark.parametrize("outcome", SLOWING)
def test_many_at_once_slow_it_once_and_each_later_one_doubles(outcome: Outcome) -> None:
    one = health()
    for _ in range(10):
        record(one, outcome)
    assert (one.slow_count, one.slow_until) == (1, NOW + timedelta(seconds=1))
    record(one, outcome, NOW + timedelta(seconds=1))
    assert (one.slow_count, one.slow_until) == (2, NOW + timedelta(seconds=3))


def test_however_long_it_is_away_the_count_ends_somewhere() -> None:
    one = health()
    for number in range(MAX_SLOW_COUNT + 5):
        record(one, Outcome.UNREACHABLE, NOW + timedelta(hours=number))
    assert one.slow_count == MAX_SLOW_COUNT
    assert one.slow_until == NOW + timedelta(hours=MAX_SLOW_COUNT + 4, minutes=5)


@pytest.mark.parametrize("outcome", COUNTED)
def test_a_failure_of_an_event_slows_nothing(outcome: Outcome) -> None:
    one = health()
    record(one, outcome)
    assert (one.slow_count, one.slow_until) == (0, None)


def test_the_receiver_may_ask_for_longer_but_not_for_ever() -> None:
    one = health()
    record(one, Outcome.SLOW_DOWN, retry_after_seconds=60)
    record(one, Outcome.SLOW_DOWN, retry_after_seconds=30)
    assert one.slow_until == NOW + timedelta(seconds=60)
    record(one, Outcome.SLOW_DOWN, retry_after_seconds=10**9)
    assert one.slow_until == NOW + timedelta(hours=24)


def test_one_subscription_alone_gets_three_quarters_of_the_slots() -> None:
    slots, one = Slots(10), uuid4()
    assert slots.take(one, 100, contested=False) == 7
    assert slots.take(one, 100, contested=False) == 0
    slots.give_back(one, 4)
    assert slots.take(one, 5, contested=False) == 2
    assert slots.held == 5


def test_one_that_hangs_leaves_a_quarter_to_those_that_come_later() -> None:
    slots, hanging, other = Slots(100), uuid4(), uuid4()
    for contested in (False, True, True):
        slots.take(hanging, 100, contested=contested)
    assert sum(slots.take(other, 100, contested=True) for _ in range(10)) == 25


def test_where_there_is_one_slot_it_is_given() -> None:
    slots = Slots(1)
    assert slots.take(uuid4(), 100, contested=False) == 1


def test_with_others_it_gets_half_of_what_is_free_and_everybody_gets_one() -> None:
    slots, heavy = Slots(10), uuid4()
    assert [slots.take(heavy, 100, contested=True) for _ in range(3)] == [5, 2, 0]
    others = [uuid4() for _ in range(4)]
    assert [slots.take(other, 100, contested=True) for other in others] == [2, 1, 1, 1]
    assert [slots.take(other, 100, contested=True) for other in others] == [0, 0, 0, 0]
    slots.give_back(heavy, 7)
    assert slots.take(others[0], 5, contested=True) == 3


def test_it_is_contested_when_another_one_holds_or_wants_some() -> None:
    slots, one, other = Slots(10), uuid4(), uuid4()
    assert not slots.is_contested({one})
    assert slots.is_contested({one, other})
    slots.take(other, 1, contested=False)
    assert slots.is_contested({one})
    slots.give_back(other)
    assert not slots.is_contested({one})


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
