"""The expected state of a file, and the differences of a source from it: pure functions."""

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from app.consistency.models import Kind

# What is compared of an event's metadata and of an item, in the order of Facts.
MEMBERS = ("size", "sha256", "blocks")
SHOWN_BLOCKS = 100  # in the evidence, of as many as there are
SHOWN_CHARACTERS = 256  # of the id of a block
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")  # in the metadata of an event: NUL and halves of surrogate pairs

Value = TypeVar("Value")
Evidence = dict[str, Any]  # {"expected": …, "found": …}


class Block(NamedTuple):
    """A block of a file; None: not known."""

    size: int | None = None
    sha256: str | None = None


class Facts(NamedTuple):
    """The comparable values of a file; None: not known.

    `blocks` are by id. `lost_blocks` are blocks that a source itself names and does not hold.
    """

    position: int | None = None
    size: int | None = None
    sha256: str | None = None
    blocks: Mapping[str, Block] | None = None
    lost_blocks: frozenset[str] = frozenset()


class Expected(NamedTuple):
    """The state of a file by the ledger. `position` is that of its last processed event, 0 without one.

    A source that gives a position below `required`, that of the last event that is not a compensation, is stale.
    Nothing is compared while the file is `in_flight`.
    """

    exists: bool = False
    position: int = 0
    facts: Facts = Facts()
    required: int = 0
    in_flight: bool = False


def read_size(value: Any) -> int | None:
    """A size in bytes or another count below 2**63; None for a value of another type."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def read_sha256(value: Any) -> str | None:
    """A SHA-256 in lower case; None for a value of another type."""
    return value.lower() if isinstance(value, str) and _SHA256.fullmatch(value) else None


def read_blocks(value: Any) -> dict[str, Block] | None:
    """Blocks by id, from a list of ids or of objects; None when it is anything else."""
    if not isinstance(value, list):
        return None
    blocks: dict[str, Block] = {}
    for one in value:
        members = one if isinstance(one, dict) else {"id": one}
        if not isinstance(members.get("id"), str) or NOT_STORABLE.search(members["id"]):
            return None
        blocks[members["id"]] = Block(read_size(members.get("size")), read_sha256(members.get("sha256")))
    return blocks


def read_facts(members: Mapping[str, Any], position: int | None = None) -> Facts:
    """The values of a file from an event's metadata, or from an item."""
    size, sha256, blocks = map(members.get, MEMBERS)
    return Facts(position, read_size(size), read_sha256(sha256), read_blocks(blocks))


def compare(expected: Expected, found: Facts | None) -> dict[Kind, Evidence]:
    """The differences of `found` (None: the source does not hold the file) from `expected`."""
    if found is None or not expected.exists:
        if expected.exists == (found is not None):
            return {}
        kind = Kind.MISSING if expected.exists else Kind.ORPHANED
        return {kind: _evidence({"exists": expected.exists}, {"exists": not expected.exists})}
    is_stale = found.position is not None and found.position < expected.required
    if not is_stale and expected.facts[1:] == found[1:]:
        return {}  # as a rule
    differences: dict[Kind, Evidence] = {}
    if is_stale:
        differences[Kind.STALE] = _evidence({"position": expected.required}, {"position": found.position})
    differences |= _compare_block_lists(expected.facts, found)
    for kind, name in ((Kind.WRONG_SIZE, "size"), (Kind.WRONG_HASH, "sha256")):
        pair = _compare_values(expected.facts, found, name)
        if pair is not None:
            differences[kind] = _evidence(*pair)
    return differences


def _compare_block_lists(expected: Facts, found: Facts) -> dict[Kind, Evidence]:
    named, held, missing = expected.blocks, found.blocks, set(found.lost_blocks)
    if named is not None and held is not None:
        missing |= named.keys() - held.keys()
    differences: dict[Kind, Evidence] = {}
    if missing:
        differences[Kind.MISSING_BLOCK] = _evidence(_blocks(sorted(missing)), _blocks([]))
    if named is not None and held is not None and (orphaned := sorted(held.keys() - named.keys())):
        differences[Kind.ORPHANED_BLOCK] = _evidence(_blocks([]), _blocks(orphaned))
    return differences


def _compare_values(expected: Facts, found: Facts, name: str) -> tuple[Evidence, Evidence] | None:
    """The differences in the value `name` of the file and of its blocks, on both sides; None: no difference."""
    read = attrgetter(name)
    sides: tuple[Evidence, Evidence] = {}, {}
    if _differ(read(expected), read(found)):
        sides[0][name], sides[1][name] = read(expected), read(found)
    ours, theirs = expected.blocks or {}, found.blocks or {}
    wrong = sorted(one for one in ours.keys() & theirs.keys() if _differ(read(ours[one]), read(theirs[one])))
    if wrong:
        for side, blocks in zip(sides, (ours, theirs), strict=True):
            side["blocks"] = [{"id": printable(one), name: read(blocks[one])} for one in wrong[:SHOWN_BLOCKS]]
            side["block_count"] = len(wrong)
    return sides if sides[0] else None


def _differ(expected: Value | None, found: Value | None) -> bool:
    return expected is not None and found is not None and expected != found


def _blocks(ids: list[str]) -> Evidence:
    return {"blocks": [printable(one) for one in ids[:SHOWN_BLOCKS]], "block_count": len(ids)}


def printable(text: str) -> str:
    """The id of a block as evidence shows it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:SHOWN_CHARACTERS])


def _evidence(expected: Evidence, found: Evidence) -> Evidence:
    return {"expected": expected, "found": found}
