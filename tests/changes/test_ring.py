"""The ring holds the newest changes, without a gap, within its bound."""

import sys
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.changes.change import Change
from app.changes.cursor import tag_of
from app.changes.ring import OVERHEAD_BYTES, Ring


def change(position: int, size: int = 10) -> Change:
    return Change(position, uuid4(), "upload", uuid4(), "x" * size)


@given(st.integers(0, 50), st.lists(st.lists(st.integers(0, 500), max_size=5), max_size=20))
def test_what_is_listed_has_no_gap_and_fits(start: int, batches: list[list[int]]) -> None:
    ring, position = Ring(max_bytes=3000), start
    ring.restart(start, None)
    for sizes in batches:
        ring.extend([change(position + number, size) for number, size in enumerate(sizes, start=1)])
        position += len(sizes)
        assert ring.end == position
        kept = ring.list_after(ring.start, None)
        assert kept is not None
        assert [one.position for one in kept] == list(range(ring.start + 1, position + 1))
        assert sum(len(one.json) + OVERHEAD_BYTES for one in kept) <= 3000
        for after in range(position + 2):
            listed = ring.list_after(after, None)
            if ring.start <= after <= position:
                assert listed is not None
                assert [one.position for one in listed] == list(range(after + 1, position + 1))
            else:
                assert listed is None


def test_a_ring_begins_anew() -> None:
    ring = Ring(max_bytes=10_000)
    ring.extend([change(1), change(2)])
    ring.restart(70, tag_of(uuid4()))
    assert (ring.list_after(1, None), ring.list_after(70, None)) == (None, [])
    ring.extend([change(71)])
    assert [one.position for one in ring.list_after(70, None) or ()] == [71]


def test_a_position_with_another_event_has_nothing_after_it() -> None:
    events = [change(position) for position in range(1, 12)]
    ring = Ring(max_bytes=10 * (sys.getsizeof(events[0].json) + OVERHEAD_BYTES))
    ring.restart(0, None)
    ring.extend(events)
    assert (ring.start, ring.end, ring.end_tag) == (1, 11, tag_of(events[-1].event_id))
    for event in events:
        assert ring.list_after(event.position, tag_of(event.event_id)) == events[event.position :]
        assert ring.list_after(event.position, tag_of(uuid4())) is None
    ring.restart(11, tag_of(events[0].event_id))
    assert ring.list_after(11, tag_of(events[-1].event_id)) is None
