"""The history that the pictures of the console show."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from history import make_events, present_files, times_of_a_day

from app.events.schemas import NewBatch

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_it_is_the_same_each_time_and_can_be_recorded() -> None:
    events = make_events(1200)
    assert events == make_events(1200)
    assert events != make_events(1200, seed=8)
    NewBatch.model_validate({"events": events[:500]})
    assert {event["event_type"] for event in events} == {"upload", "update", "delete"}
    deleted = {event["file_id"] for event in events if event["event_type"] == "delete"}
    assert deleted - {str(one) for one in present_files(events)}


def test_its_times_rise_within_the_day() -> None:
    times = times_of_a_day(1000, NOW)
    assert len(times) == 1000
    assert all(one <= other for one, other in pairwise(times))
    assert NOW - timedelta(days=1) <= times[0]
    assert times[-1] <= NOW
