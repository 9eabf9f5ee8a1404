"""A cursor is good for its filter and its ledger, and to the last bit as it was given out."""

from itertools import product
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.changes.cursor import (
    EVENT_TAG_BYTES,
    EVERYTHING,
    LENGTHS,
    WITH_EVENT,
    WITHOUT_EVENT,
    ChangeFilter,
    Cursor,
    CursorAhead,
    CursorInvalid,
    CursorOfOtherFilter,
    CursorOfOtherLedger,
    ledger_digest,
)
from app.events.models import EventType
from app.http.types import MAX_POSITION

LEDGER = uuid4()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\0 ü"


EVENT_TAG = bytes(range(EVENT_TAG_BYTES))


def make_cursor(
    position: int,
    version: int = WITH_EVENT,
    *,
    event_tag: bytes | None = EVENT_TAG,
    change_filter: ChangeFilter = EVERYTHING,
    ledger: UUID = LEDGER,
) -> Cursor:
    return Cursor(position, event_tag, change_filter.digest(), ledger_digest(ledger), version)


versions = pytest.mark.parametrize("version", [WITHOUT_EVENT, WITH_EVENT])


@given(st.integers(0, MAX_POSITION), st.binary(min_size=EVENT_TAG_BYTES, max_size=EVENT_TAG_BYTES))
def test_a_cursor_keeps_its_position_and_its_event(position: int, event_tag: bytes) -> None:
    for version, kept in ((WITHOUT_EVENT, None), (WITH_EVENT, event_tag)):
        text = make_cursor(position, version, event_tag=event_tag).encode()
        assert len(text) == LENGTHS[version]
        cursor = Cursor.decode(text)
        cursor.check(EVERYTHING, LEDGER, MAX_POSITION)
        assert (cursor.position, cursor.event_tag) == (position, kept)
        assert len(make_cursor(position, version, event_tag=None).encode()) == LENGTHS[WITHOUT_EVENT]


def test_a_cursor_of_the_release_before_is_read_and_written_to_the_last_bit() -> None:
    ledger = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
    text = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
    Cursor.decode(text).check(EVERYTHING, ledger, 0)
    assert make_cursor(0, WITHOUT_EVENT, ledger=ledger).encode() == text


@versions
def test_every_other_character_at_every_place_is_noticed(version: int) -> None:
    text = make_cursor(12345, version).encode()
    for place, character in product(range(len(text)), ALPHABET):
        if character != text[place]:
            with pytest.raises(CursorInvalid):
                Cursor.decode(text[:place] + character + text[place + 1 :])


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        Cursor.decode(text)


@given(st.sampled_from(sorted(LENGTHS.values())).flatmap(lambda size: st.text(ALPHABET, min_size=size, max_size=size)))
def test_any_other_text_of_the_right_length_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        Cursor.decode(text)


def test_what_it_is_not_for_is_told_apart() -> None:
    deletes = ChangeFilter(frozenset({EventType.DELETE}))
    cursor = Cursor.decode(make_cursor(7, change_filter=deletes).encode())
    with pytest.raises(CursorOfOtherFilter):
        cursor.check(EVERYTHING, LEDGER, 7)
    with pytest.raises(CursorOfOtherLedger):
        cursor.check(deletes, uuid4(), 7)
    with pytest.raises(CursorAhead):
        cursor.check(deletes, LEDGER, 6)
    cursor.check(deletes, LEDGER, 7)


def test_the_order_of_types_does_not_matter_and_a_file_does() -> None:
    one = ChangeFilter(frozenset([EventType.DELETE, EventType.UPLOAD]), LEDGER)
    assert one.digest() == ChangeFilter(frozenset([EventType.UPLOAD, EventType.DELETE]), LEDGER).digest()
    others = [
        ChangeFilter(file_id=LEDGER),
        ChangeFilter(frozenset([EventType.DELETE]), LEDGER),
        ChangeFilter(file_id=uuid4()),
        EVERYTHING,
    ]
    assert len({change_filter.digest() for change_filter in [one, *others]}) == 5
