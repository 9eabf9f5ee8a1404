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
    MAX_POSITION,
    WITH_EVENT,
    WITHOUT_EVENT,
    ChangeFilter,
    Cursor,
    CursorAhead,
    CursorInvalid,
    CursorMaker,
    CursorOfOtherFilter,
    CursorOfOtherLedger,
)
from app.events.models import EventType

LEDGER = uuid4()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\0 ü"


EVENT_TAG = bytes(range(EVENT_TAG_BYTES))
versions = pytest.mark.parametrize("version", [WITHOUT_EVENT, WITH_EVENT])


@given(st.integers(0, MAX_POSITION), st.binary(min_size=EVENT_TAG_BYTES, max_size=EVENT_TAG_BYTES))
def test_a_cursor_keeps_its_position_and_its_event(position: int, event_tag: bytes) -> None:
    for version, kept in ((WITHOUT_EVENT, None), (WITH_EVENT, event_tag)):
        cursors = CursorMaker(EVERYTHING, LEDGER, version)
        text = cursors.encode(position, event_tag)
        assert len(text) == LENGTHS[version]
        cursor = Cursor.decode(text)
        cursors.check(cursor, MAX_POSITION)
        assert (cursor.position, cursor.event_tag) == (position, kept)
        assert len(cursors.encode(position, None)) == LENGTHS[WITHOUT_EVENT]


def test_a_cursor_of_the_release_before_is_read_and_written_to_the_last_bit() -> None:
    ledger = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
    text = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
    cursors = CursorMaker(EVERYTHING, ledger, WITHOUT_EVENT)
    cursors.check(Cursor.decode(text), 0)
    assert cursors.encode(0, EVENT_TAG) == text


@versions
def test_every_other_character_at_every_place_is_noticed(version: int) -> None:
    text = CursorMaker(EVERYTHING, LEDGER, version).encode(12345, EVENT_TAG)
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
    cursors = CursorMaker(ChangeFilter(frozenset({EventType.DELETE})), LEDGER)
    cursor = Cursor.decode(cursors.encode(7, EVENT_TAG))
    with pytest.raises(CursorOfOtherFilter):
        CursorMaker(EVERYTHING, LEDGER).check(cursor, 7)
    with pytest.raises(CursorOfOtherLedger):
        CursorMaker(ChangeFilter(frozenset({EventType.DELETE})), uuid4()).check(cursor, 7)
    with pytest.raises(CursorAhead):
        cursors.check(cursor, 6)
    cursors.check(cursor, 7)


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
