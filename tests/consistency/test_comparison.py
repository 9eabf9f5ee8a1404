"""How a source differs from what is expected of a file: pure functions."""

import json
from itertools import product
from uuid import uuid4

from app.consistency.comparison import MEMBERS, Block, Expected, Facts, compare, read_blocks, read_facts
from app.consistency.expected_repository import equal_files
from app.consistency.models import Kind

SHA = "ab" * 32
OTHER_SHA = "cd" * 32


def test_blocks_are_ids_or_objects() -> None:
    blocks = read_blocks(["a", {"id": "b", "size": 2**40, "sha256": SHA.upper()}])
    assert blocks == {"a": Block(), "b": Block(2**40, SHA)}
    assert read_blocks([]) == {}
    wrong: list[object] = [None, {}, "a", [1], [{}], [["a"]]]
    assert [read_blocks(one) for one in wrong] == [None] * 6


def present(**facts: object) -> Expected:
    return Expected(True, 5, Facts(**facts), required=5)  # type: ignore[arg-type]


def test_presence() -> None:
    assert compare(Expected(), None) == {}
    assert compare(present(), Facts()) == {}
    assert compare(present(size=1), None) == {Kind.MISSING: {"expected": {"exists": True}, "found": {"exists": False}}}
    assert compare(Expected(position=5), Facts(size=1)) == {
        Kind.ORPHANED: {"expected": {"exists": False}, "found": {"exists": True}}
    }


def test_positions() -> None:
    assert compare(present(), Facts(position=5)) == compare(present(), Facts(position=9)) == {}
    assert compare(present(), Facts(position=4)) == {
        Kind.STALE: {"expected": {"position": 5}, "found": {"position": 4}}
    }
    assert compare(Expected(True, 5, required=4), Facts(position=4)) == {}, "event 5 is a compensation"


def test_values_are_compared_where_both_sides_have_them() -> None:
    assert compare(present(size=2**40), Facts()) == compare(present(), Facts(size=1, blocks={})) == {}
    assert compare(present(size=2**40, sha256=SHA), Facts(size=1, sha256=OTHER_SHA)) == {
        Kind.WRONG_SIZE: {"expected": {"size": 2**40}, "found": {"size": 1}},
        Kind.WRONG_HASH: {"expected": {"sha256": SHA}, "found": {"sha256": OTHER_SHA}},
    }


def test_blocks_are_grouped_by_file() -> None:
    ours = {"a": Block(1, SHA), "b": Block(2), "c": Block(), "d": Block()}
    theirs = {"a": Block(1, OTHER_SHA), "b": Block(3), "e": Block()}
    assert compare(present(blocks=ours), Facts(blocks=theirs)) == {
        Kind.MISSING_BLOCK: {
            "expected": {"blocks": ["c", "d"], "block_count": 2},
            "found": {"blocks": [], "block_count": 0},
        },
        Kind.ORPHANED_BLOCK: {
            "expected": {"blocks": [], "block_count": 0},
            "found": {"blocks": ["e"], "block_count": 1},
        },
        Kind.WRONG_SIZE: {
            "expected": {"blocks": [{"id": "b", "size": 2}], "block_count": 1},
            "found": {"blocks": [{"id": "b", "size": 3}], "block_count": 1},
        },
        Kind.WRONG_HASH: {
            "expected": {"blocks": [{"id": "a", "sha256": SHA}], "block_count": 1},
            "found": {"blocks": [{"id": "a", "sha256": OTHER_SHA}], "block_count": 1},
        },
    }


def test_evidence_is_bounded_and_printable() -> None:
    theirs = {f"{number:05}\x00{'x' * 1000}": Block() for number in range(10_000)}
    [evidence] = compare(present(blocks={}), Facts(blocks=theirs)).values()
    assert evidence["found"]["block_count"] == 10_000
    assert len(evidence["found"]["blocks"]) == 100
    assert all(len(one) == 256 and one.isprintable() for one in evidence["found"]["blocks"])


def test_equal_json_never_differs() -> None:
    """A check of a whole source reads the values of a file only where the last event carries another JSON value."""
    block = {"id": "a", "size": 1}
    lists = [["a"], ["b"], [block], [{**block, "size": True}], [{**block, "size": 2}]]
    values = [None, True, 1, 1.0, "1", 2, SHA, SHA.upper(), OTHER_SHA, *lists]
    file_id = uuid4()
    equal = set()
    for name, ours, theirs in product(MEMBERS, values, values):
        rows, found = {file_id: (file_id, True, 5, False, json.dumps(ours))}, {file_id: {name: theirs}}
        if equal_files(rows, found, [name]):
            equal.add((str(ours), str(theirs)))
            assert compare(Expected(True, 5, read_facts({name: ours})), read_facts({name: theirs})) == {}
    assert {("2", "2"), ("2", "None"), (SHA, SHA)} <= equal
    assert not {("1", "2"), (SHA, SHA.upper())} & equal


def test_a_file_is_equal_only_if_it_is_there_and_the_source_has_its_last_event() -> None:
    there, deleted, in_flight, unknown = (uuid4() for _ in range(4))
    rows = {there: (there, True, 5, False), deleted: (deleted, False, 5, False), in_flight: (in_flight, True, 5, True)}
    for position, equal in ((None, {there}), (5, {there}), (6, {there}), (4, set()), ("5", set())):
        found = {key: {"position": position} for key in (there, deleted, in_flight, unknown)}
        assert equal_files(rows, found, []) == equal
