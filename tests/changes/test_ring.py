"""The ring holds the newest changes, without a gap, within its bound."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.changes.change import Change
from app.changes.ring import OVERHEAD_BYTES, Ring


def change(position: int, size: int = 10) -> Change:
    return Change(position, "upload", uuid4(), "x" * size)


@given(st.integers(0, 50), st.lists(st.lists(st.integers(0, 500), max_size=5), max_size=20))
def test_what_is_listed_has_no_gap_and_fits(start: int, batches: list[list[int]]) -> None:
    ring, position = Ring(max_bytes=3000), start
    ring.restart(start)
    for sizes in batches:
        ring.extend([change(position + number, size) for number, size in enumerate(sizes, start=1)])
        position += len(sizes)
        assert ring.end == position
        kept = ring.list_after(ring.start)
        assert kept is not None
        assert [one.position for one in kept] == list(range(ring.start + 1, position + 1))
        assert sum(len(one.json) + OVERHEAD_BYTES for one in kept) <= 3000
        for after in range(position + 2):
            listed = ring.list_after(after)
            if ring.start <= after <= position:
                assert listed is not None
                assert [one.position for one in listed] == list(range(after + 1, position + 1))
            else:
                assert listed is None


def test_a_ring_begins_anew() -> None:
    ring = Ring(max_bytes=10_000)
    ring.extend([change(1), change(2)])
    ring.restart(70)
    assert (ring.list_after(1), ring.list_after(70)) == (None, [])
    ring.extend([change(71)])
    assert [one.position for one in ring.list_after(70) or ()] == [71]
