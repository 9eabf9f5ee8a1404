"""If-Match as RFC 9110 has it."""

import pytest

from app.http.dependencies import IfMatch, PreconditionFailed, version_etag


@pytest.mark.parametrize(
    "values",
    [
        [],
        ["*"],
        [" * "],
        ['"3"'],
        ['"1", "3"'],
        ['"1"', '"3"'],
        ['"1",,"3",'],
        ['W/"1" ,\t"3"'],
        ['"a,b", "3"'],
        ['W/"3"'],
    ],
    ids=range(10),
)
def test_a_condition_that_the_current_version_meets(values: list[str]) -> None:
    IfMatch.parse(values).check(3)


@pytest.mark.parametrize("values", [['"1"'], ['W/"1"'], ['"33", "13"'], ['"3,"'], ['"\xff"']], ids=range(5))
def test_a_condition_that_it_does_not_meet(values: list[str]) -> None:
    with pytest.raises(PreconditionFailed):
        IfMatch.parse(values).check(3)


@pytest.mark.parametrize(
    "value",
    ["3", '"3', '"3" "4"', '*, "3"', 'w/"3"', 'W/ "3"', '"a b"', '"\n"', "'3'", '"3"x', "", ",", "*,"],
    ids=range(13),
)
def test_what_is_no_list_of_entity_tags(value: str) -> None:
    with pytest.raises(ValueError, match="no list"):
        IfMatch.parse([value])


def test_a_long_list_is_read_in_no_time() -> None:
    with pytest.raises(ValueError, match="no list"):
        IfMatch.parse([" ,\t" * 10_000 + "x"])


def test_the_tag_of_a_version_is_strong() -> None:
    assert version_etag(3) == '"3"'


@pytest.mark.parametrize(
    ("values", "is_named"),
    [(['"a"'], True), (['W/"a", "b"'], True), (['"b"', '"a"'], True), (['"b"'], False), (["*"], False), ([], False)],
    ids=range(6),
)
def test_a_condition_that_names_a_tag(values: list[str], is_named: bool) -> None:
    assert IfMatch.parse(values).names('"a"') is is_named
