"""The blocks that a check reads and hashes: one part of all, and blocks of findings about sizes and hashes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.consistency.comparison import Evidence, printable

PATTERN = r"^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$"


@dataclass(frozen=True, slots=True)
class Part:
    """The part `number` of `count` of all blocks."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `k/n`.

        Raises:
            ValueError: it is not that, or k is greater than n.
        """
        if not re.fullmatch(PATTERN, text):
            raise ValueError("not k/n")
        part = cls(*map(int, text.split("/")))
        if part.number > part.count:
            raise ValueError("k is greater than n")
        return part

    def __contains__(self, block_id: str) -> bool:
        digest = hashlib.sha256(block_id.encode("utf-8", "replace")).digest()
        return int.from_bytes(digest) % self.count == self.number - 1


class DeepBlocks:
    """The blocks of one file that are read: those of `part`, and those that `evidence` names.

    A block in a finding is read at every look, else the finding would be about a value that is no longer compared.
    """

    def __init__(self, part: Part | None, evidence: Iterable[Evidence]) -> None:
        self._part = part
        shown = [one["expected"] for one in evidence if "blocks" in one["expected"]]
        self._named = {block["id"] for one in shown for block in one["blocks"]}
        self._all = any(one["block_count"] > len(one["blocks"]) for one in shown)

    def __call__(self, block_id: str) -> bool:
        return self._all or (self._part is not None and block_id in self._part) or printable(block_id) in self._named
