"""Cuts files into blocks and digests them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Blocks:
    """The content of a file: its size in bytes and the SHA-256 of each of its blocks, in order.

    Every block has `BLOCK_BYTES` bytes, except that the last one may be shorter. An empty file has no block.
    """

    size: int
    digests: tuple[bytes, ...]

    @property
    def root(self) -> str:
        """SHA-256 over the concatenated block digests, in hex: one value that identifies the content."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()


def cut(stream: BinaryIO, on_block: Callable[[int], None]) -> Blocks:
    """Read `stream`, which must be buffered, to its end; `on_block` gets the size of each block."""
    size, digests = 0, []
    while block := stream.read(BLOCK_BYTES):
        digests.append(hashlib.sha256(block).digest())
        size += len(block)
        on_block(len(block))
    return Blocks(size, tuple(digests))
