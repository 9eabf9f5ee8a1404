"""The delay before the next attempt."""

from datetime import UTC, datetime, timedelta

import pytest

from app.sweep.repository import latest_attempts, next_attempt

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(("failed_attempts", "seconds"), [(1, 5), (2, 10), (3, 20), (6, 160), (7, 300), (1000, 300)])
def test_the_delay_doubles_up_to_five_minutes(failed_attempts: int, seconds: float) -> None:
    assert next_attempt(NOW, failed_attempts, timedelta(seconds=5)) == NOW + timedelta(seconds=seconds)


def test_no_attempt_is_later_than_its_number_allows() -> None:
    times = latest_attempts(NOW, timedelta(seconds=100))
    assert [round((at - NOW).total_seconds()) for at in times] == [101, 201, 301]
    assert latest_attempts(NOW, timedelta()), "an interval of nothing has its end too"
