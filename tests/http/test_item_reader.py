"""A list read item by item is the list read at once, or refused as clearly."""

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from app.http.item_reader import ItemReader
from app.http.strict_json import parse_json


class Item(BaseModel):
    number: int
    note: Any = None


class Items(BaseModel):
    items: Annotated[list[Item], Field(max_length=5)]


READER = ItemReader(Items)
WHITE = st.text(" \t\r\n", max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NOTE = st.none() | st.integers(-(2**63), 2**63 - 1) | TEXT | st.lists(TEXT, max_size=3)


def read(raw: bytes) -> Any:
    return READER.read(raw, 1000)


@given(notes=st.lists(NOTE, max_size=5), white=st.lists(WHITE, min_size=12, max_size=12), escaped=st.booleans())
def test_what_is_valid_is_read_as_always(notes: list[Any], white: list[str], escaped: bool) -> None:
    items = [json.dumps({"number": 1, "note": note}, ensure_ascii=escaped) for note in notes]
    listed = f"{white[0]},{white[1]}".join(items)
    text = f'{white[2]}{{{white[3]}"items"{white[4]}:{white[5]}[{white[6]}{listed}{white[7]}]{white[8]}}}{white[9]}'
    read_at_once = Items.model_validate(parse_json(text.encode()))
    assert Items.model_validate(READER.read(text.encode(), 100_000)) == read_at_once


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'{"items"',
        b'{"items":[',
        b'{"items":[{"number":1}',
        b'{"items":[{"number":1},',
        b'{"items":[{"number":1},]}',
        b'{"items":[{"number":1}]',
        b'{"items":[{"number":1}]}}',
        b'{"items":[]},',
        b'{"items":[{"number":1}],"more":1}',
        b'{"items":[{"number":1}]}\xff',
        b'{"more":1,"items":[]}',
        b'{"items":[{"number":1} {"number":1}]}',
        b'{"items":[{"number":1,"number":1}]}',
        b'{"items":[{"number":NaN}]}',
        b'{"items":[{"number":18446744073709551616}]}',
        b'{"items":[{"number":1,"note":"\\ud800"}]}',
        b'{"items":[{"number":1,"note":"\\u0000"}]}',
        b'{"items":[{"number":1,"note":"\xff"}]}',
        b'{"items":[{"number":1,"note":"\xf0\x9f',
        b'{"items":[{"number":1,"note":"' + b"x" * 1000 + b'"}]}',
        b'{"items":[' + b"[" * 900 + b"]" * 900 + b"]}",
        b'{"items":[' + b"9" * 5000 + b"]}",
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_what_is_not_is_refused(raw: bytes) -> None:
    with pytest.raises((json.JSONDecodeError, ValidationError)):
        Items.model_validate(read(raw))


def test_reading_ends_at_the_first_invalid_item_and_at_one_too_many() -> None:
    good, bad = b'{"number":1}', b'{"number":"x"}'
    found = read(b'{"items":[' + good + b"," + bad + b", nonsense")
    assert found == {"items": [Item(number=1), {"number": "x"}]}
    with pytest.raises(ValidationError) as refused:
        Items.model_validate(found)
    assert refused.value.errors()[0]["loc"] == ("items", 1, "number")
    assert len(read(b'{"items":[' + b",".join([good] * 6) + b", nonsense")["items"]) == 6


def test_an_item_as_large_as_it_may_be_is_read() -> None:
    def item(size: int) -> bytes:
        return b'{"items":[' + b'{"number":1,"note":"'.ljust(size - 2, b"x") + b'"}]}'

    assert len(read(item(1000))["items"]) == 1
    with pytest.raises(json.JSONDecodeError):
        read(item(1001))


@pytest.mark.parametrize("size", [2047, 2048, 2049, 16_384, 16_385, 100_000])
def test_items_of_every_size_are_read_beside_each_other(size: int) -> None:
    item = b'{"number":1,"note":"'.ljust(size - 2, b"x") + b'"}'
    read_items = READER.read(b'{"items":[' + b" , ".join([item] * 5) + b"]}", 100_000)["items"]
    assert [len(item.note) for item in read_items] == [size - 22] * 5
