"""Requests to sources: sent again while they fail, and their responses read with suspicion."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from asyncpg.pgproto import pgproto

from app.consistency.comparison import Evidence, Facts, printable
from app.consistency.models import Source
from app.outbound.client import TOO_LARGE, AttemptResponse

SUBSET_PATTERN = r"^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$"
MAX_PAGE_BYTES = 8_388_608
MAX_ITEM_BYTES = 1_048_576
MAX_HEADER_BYTES = 65_536
MAX_BLOCKS = 10_000
FIRST_WAIT_SECONDS = 0.1
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

BlockFilter = Callable[[str], bool]  # which blocks are read and hashed, by their id


class SourceError(Exception):
    """The source could not be asked, or breaks the contract; the message is a phrase for people, without a full stop.

    `unanswered`: by connection, time-out, 429 or 5xx, even when asked again.
    """

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


class NotVisible(SourceError):
    """The token may not see the file: whether it is there is unknown."""


class RequestRetries(NamedTuple):
    """The number of attempts of a request, and their seconds in all, before it counts as failed.

    `permit_seconds`: how long a file check may wait for a permit while no other file check of the same call has one.
    """

    attempts: int
    seconds: float
    permit_seconds: float | None = None


BACKGROUND = RequestRetries(attempts=8, seconds=20)
NAMED = RequestRetries(attempts=8, seconds=20, permit_seconds=8)
REFRESH = RequestRetries(attempts=2, seconds=10)


class InventoryPage(NamedTuple):
    """A page of the inventory; `items` by rising file id, with their members, `next` None on the last one."""

    items: Sequence[tuple[UUID, Mapping[str, Any]]]
    next: UUID | None
    total: int | None
    watermark: int | None


class SourceFile(NamedTuple):
    """The state of one file at the source; `found` None: the source does not hold it."""

    found: Facts | None
    watermark: int | None


@dataclass(frozen=True, slots=True)
class BlockSubset:
    """The part `number` of `count` of all blocks."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "BlockSubset":
        """Read `k/n`; raises `ValueError` if it is not that, or k is greater than n."""
        if not re.fullmatch(SUBSET_PATTERN, text):
            raise ValueError("not k/n")
        subset = cls(*map(int, text.split("/")))
        if subset.number > subset.count:
            raise ValueError("k is greater than n")
        return subset

    def __contains__(self, block_id: str) -> bool:
        digest = hashlib.sha256(block_id.encode("utf-8", "replace")).digest()
        return int.from_bytes(digest) % self.count == self.number - 1


class BlocksToRead:
    """The blocks of one file that are read: the blocks of `subset`, and the blocks that `evidence` names.

    A block in a finding is read by every file check, else the finding would be about a value that is not compared.
    """

    def __init__(self, subset: BlockSubset | None, evidence: Iterable[Evidence]) -> None:
        self._subset = subset
        shown = [one["expected"] for one in evidence if "blocks" in one["expected"]]
        self._named = {block["id"] for one in shown for block in one["blocks"]}
        self._all = any(one["block_count"] > len(one["blocks"]) for one in shown)

    def __call__(self, block_id: str) -> bool:
        return (
            self._all or (self._subset is not None and block_id in self._subset) or printable(block_id) in self._named
        )


class SourceClient(Protocol):
    """Asks the sources of one kind."""

    async def get_file(
        self, source: Source, file_id: UUID, retries: RequestRetries, read_block: BlockFilter
    ) -> SourceFile:
        """The state of one file at the source.

        Raises:
            SourceError: the source could not be asked, or it breaks the contract.
        """
        ...


async def ask(
    send: Callable[[], Awaitable[AttemptResponse]], retries: RequestRetries, who: str = ""
) -> AttemptResponse:
    """The first response that is not a reason to ask again. The reason of a failure begins with `who`.

    Raises:
        SourceError: there is none.
    """
    clock = asyncio.get_running_loop().time
    ends_at, wait_seconds = clock() + retries.seconds, FIRST_WAIT_SECONDS
    for left in reversed(range(retries.attempts)):
        response = await send()
        if not _is_transient(response):
            return response
        if not left or clock() + wait_seconds >= ends_at:
            raise SourceError(who + describe(response), unanswered=True)
        await asyncio.sleep(wait_seconds)
        wait_seconds *= 2
    raise AssertionError("a request is sent at least once")


@asynccontextmanager
async def limit_time(seconds: float) -> AsyncIterator[None]:
    """Let the requests of the block take at most so long; raises `SourceError` if they took longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise SourceError(f"did not respond within {seconds:g} seconds", unanswered=True) from None


def expect_success(response: AttemptResponse, who: str = "") -> bytes:
    """The body of a response with status 200.

    Raises:
        SourceError: it has another status, or there is no response.
    """
    if response.status_code != 200:
        raise SourceError(who + describe(response))
    return response.content


def describe(response: AttemptResponse) -> str:
    """The fault of a response, as a phrase."""
    if response.status_code is None:
        return f"cannot be asked: {(response.error or 'no response').rstrip('.')}"
    suffix = "; redirects are not followed" if 300 <= response.status_code < 400 else ""
    return f"responds with status {response.status_code}{suffix}"


def read_json(content: bytes) -> Any:
    """The document of a body; raises `SourceError` if it is not JSON."""
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SourceError("sends a body that is not JSON") from None


def read_object(content: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises `SourceError` if it is not one."""
    document = read_json(content)
    if not isinstance(document, dict):
        raise SourceError("sends a body that is not a JSON object")
    return document


def read_uuid(value: Any, name: str) -> UUID:
    """The UUID in the member `name`; raises `SourceError` if it is not one."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise SourceError(f"sends a `{name}` that is not a UUID")
    file_id: UUID = pgproto.UUID(value)  # a subclass of Python's, which takes a sixth of the time
    return file_id


def _is_transient(response: AttemptResponse) -> bool:
    if response.status_code is None:
        return not response.refused and response.error != TOO_LARGE
    return response.status_code == 429 or response.status_code >= 500


def _refuse(_constant: str) -> None:
    raise ValueError("JSON has no such number")
