"""A cursor is good for its filter and its ledger, and to the last bit as it was given out."""

from itertools import product
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.changes.cursor import LENGTH, MAX_POSITION, Cursor, CursorMaker
from app.changes.errors import CursorAhead, CursorInvalid, CursorOfOtherFilter, CursorOfOtherLedger
from app.changes.wanted import EVERYTHING, Wanted
from app.events.models import EventType

LEDGER = uuid4()
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=\0 ü"


@given(st.integers(0, MAX_POSITION))
def test_a_cursor_keeps_its_position(position: int) -> None:
    cursors = CursorMaker(EVERYTHING, LEDGER)
    text = cursors.encode(position)
    assert len(text) == LENGTH
    assert cursors.position_of(Cursor.decode(text), MAX_POSITION) == position


def test_every_other_character_at_every_place_is_noticed() -> None:
    text = CursorMaker(EVERYTHING, LEDGER).encode(12345)
    for place, character in product(range(LENGTH), ALPHABET):
        if character != text[place]:
            with pytest.raises(CursorInvalid):
                Cursor.decode(text[:place] + character + text[place + 1 :])


@given(st.text(max_size=80))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        Cursor.decode(text)


@given(st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH))
def test_any_other_text_of_the_right_length_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        Cursor.decode(text)


def test_what_it_is_not_for_is_told_apart() -> None:
    cursors = CursorMaker(Wanted(frozenset({EventType.DELETE})), LEDGER)
    cursor = Cursor.decode(cursors.encode(7))
    with pytest.raises(CursorOfOtherFilter):
        CursorMaker(EVERYTHING, LEDGER).position_of(cursor, 7)
    with pytest.raises(CursorOfOtherLedger):
        CursorMaker(Wanted(frozenset({EventType.DELETE})), uuid4()).position_of(cursor, 7)
    with pytest.raises(CursorAhead):
        cursors.position_of(cursor, 6)
    assert cursors.position_of(cursor, 7) == 7


def test_the_order_of_types_does_not_matter_and_a_file_does() -> None:
    one = Wanted(frozenset([EventType.DELETE, EventType.UPLOAD]), LEDGER)
    assert one.digest() == Wanted(frozenset([EventType.UPLOAD, EventType.DELETE]), LEDGER).digest()
    others = [
        Wanted(file_id=LEDGER),
        Wanted(frozenset([EventType.DELETE]), LEDGER),
        Wanted(file_id=uuid4()),
        EVERYTHING,
    ]
    assert len({wanted.digest() for wanted in [one, *others]}) == 5
