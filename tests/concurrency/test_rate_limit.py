"""The rate algorithm of callers and of subscriptions."""

from app.concurrency.rate_limit import allow


def test_a_burst_goes_at_once_and_then_one_each_step() -> None:
    count, even_time = allow(None, 1000, 10, 50, at_most=100)
    assert (count, even_time) == (5, 1050)
    assert allow(even_time, 1000, 10, 50) == (0, 1050)
    assert allow(even_time, 1025, 10, 50, at_most=100) == (2, 1070)


def test_what_was_not_used_is_not_saved_up() -> None:
    assert allow(3, 1000, 10, 50, at_most=100) == (5, 1050)


def test_a_time_that_cannot_have_been_given_yet_is_none() -> None:
    assert allow(1060, 1000, 10, 50, at_most=100) == (0, 1060)
    assert allow(1061, 1000, 10, 50, at_most=100) == (5, 1050), "the clock was set back"
