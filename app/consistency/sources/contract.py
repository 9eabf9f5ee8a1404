"""Asks a source of kind `contract` (docs/consistency.md), and believes nothing that does not keep to the contract."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from app.consistency.comparison import Facts, read_blocks, read_sha256, read_size
from app.outbound.client import TOO_LARGE, AttemptResponse, OutboundClient

MAX_PAGE_BYTES = 8_388_608
MAX_ITEM_BYTES = 1_048_576
MAX_BLOCKS = 10_000
PAGE_ITEMS = 1000
FIRST_WAIT_SECONDS = 0.1
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class SourceError(Exception):
    """The source could not be asked, or breaks the contract; the message is a phrase for people, without a full stop.

    `unanswered`: by connection, time-out, 429 or 5xx, even when asked again.
    """

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


class Patience(NamedTuple):
    """How often a question is asked, and for how many seconds in all, before it counts as failed."""

    attempts: int
    seconds: float


BACKGROUND = Patience(attempts=8, seconds=20)
REFRESH = Patience(attempts=2, seconds=10)


class Address(NamedTuple):
    """Where a source is asked, and with which headers."""

    url: str
    headers: Mapping[str, str]


class Page(NamedTuple):
    """A page of the inventory; `items` by rising file id, `next` None on the last one."""

    items: Sequence[tuple[UUID, Facts]]
    next: UUID | None
    total: int | None
    watermark: int | None


class Look(NamedTuple):
    """What the source holds of one file; `found` None: nothing."""

    found: Facts | None
    watermark: int | None


class ContractClient:
    """Sends the requests of the contract. A request takes at most the time-out of `client`."""

    def __init__(self, client: OutboundClient) -> None:
        self._client = client

    async def get_page(self, address: Address, after: UUID | None, patience: Patience = BACKGROUND) -> Page:
        """The page of the inventory after the file `after`.

        Raises:
            SourceError: there is no such page, or it breaks the contract.
        """
        async with _limit(patience):
            return await self._get_page(address, after, PAGE_ITEMS, patience.attempts)

    async def look(self, address: Address, file_id: UUID, patience: Patience) -> Look:
        """What the source holds of one file. A 404 counts only when the inventory works and does not list the file.

        Raises:
            SourceError: the source could not be asked, or it breaks the contract.
        """
        async with _limit(patience):
            response = await self._ask(address, f"/{file_id}", patience.attempts)
            if response.status_code == 404:
                before = UUID(int=file_id.int - 1) if file_id.int else None
                page = await self._get_page(address, before, 1, patience.attempts)
                if any(listed == file_id for listed, _ in page.items):
                    raise SourceError("responds 404 for a file that its inventory lists")
                return Look(None, page.watermark)
            if len(response.content) > MAX_ITEM_BYTES:
                raise SourceError("sends an item of more than 1 MiB")
            document = _read_object(_expect_success(response))
            listed, facts = _read_item(document)
            if listed != file_id:
                raise SourceError("responds with another file than the one asked for")
            return Look(facts, _read_count(document, "watermark"))

    async def test(self, address: Address) -> tuple[AttemptResponse, Page | None, str | None]:
        """Ask once for one item; returns the response, the page, and what is wrong with it."""
        response = await self._client.get(f"{address.url.rstrip('/')}/inventory?limit=1", address.headers)
        try:
            return response, _read_page(_expect_success(response), None), None
        except SourceError as error:
            return response, None, str(error)

    async def _get_page(self, address: Address, after: UUID | None, limit: int, attempts: int) -> Page:
        query = f"?limit={limit}" if after is None else f"?after={after}&limit={limit}"
        return _read_page(_expect_success(await self._ask(address, query, attempts)), after)

    async def _ask(self, address: Address, path: str, attempts: int) -> AttemptResponse:
        """The first response that is not a reason to ask again."""
        url = f"{address.url.rstrip('/')}/inventory{path}"
        wait_seconds = FIRST_WAIT_SECONDS
        for _ in range(attempts - 1):
            response = await self._client.get(url, address.headers)
            if not _is_transient(response):
                return response
            await asyncio.sleep(wait_seconds)
            wait_seconds *= 2
        response = await self._client.get(url, address.headers)
        if _is_transient(response):
            raise SourceError(_describe(response), unanswered=True)
        return response


@asynccontextmanager
async def _limit(patience: Patience) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(patience.seconds):
            yield
    except TimeoutError:
        raise SourceError(f"did not respond within {patience.seconds:g} seconds", unanswered=True) from None


def _is_transient(response: AttemptResponse) -> bool:
    if response.status_code is None:
        return not response.refused and response.error != TOO_LARGE
    return response.status_code == 429 or response.status_code >= 500


def _describe(response: AttemptResponse) -> str:
    if response.status_code is None:
        return f"cannot be asked: {(response.error or 'no response').rstrip('.')}"
    suffix = "; redirects are not followed" if 300 <= response.status_code < 400 else ""
    return f"responds with status {response.status_code}{suffix}"


def _expect_success(response: AttemptResponse) -> bytes:
    if response.status_code != 200:
        raise SourceError(_describe(response))
    return response.content


def _refuse(_constant: str) -> None:
    raise ValueError("JSON has no such number")


def _read_object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SourceError("sends a body that is not JSON") from None
    if not isinstance(document, dict):
        raise SourceError("sends a body that is not a JSON object")
    return document


def _read_page(content: bytes, after: UUID | None) -> Page:
    """Parse a page and check its order.

    Raises:
        SourceError: it breaks the contract.
    """
    document = _read_object(content)
    listed = document.get("items")
    if not isinstance(listed, list):
        raise SourceError("sends a page without a list of items")
    if len(content) > MAX_ITEM_BYTES and any(len(json.dumps(one)) > MAX_ITEM_BYTES for one in listed):
        raise SourceError("sends an item of more than 1 MiB")
    items = [_read_item(one) for one in listed]
    last = after
    for file_id, _ in items:
        if last is not None and file_id <= last:
            raise SourceError("sends an inventory that is not sorted by file_id")
        last = file_id
    following = None if document.get("next") is None else _read_uuid(document["next"], "next")
    if following is not None and (not items or (after is not None and following <= after)):
        raise SourceError("repeats a page: its `next` does not lead on")
    if following is not None and following < items[-1][0]:
        raise SourceError("sends a `next` that lies before the end of its page")
    return Page(items, following, _read_count(document, "total"), _read_count(document, "watermark"))


def _read_item(value: Any) -> tuple[UUID, Facts]:
    if not isinstance(value, dict):
        raise SourceError("sends an item that is not a JSON object")
    file_id = _read_uuid(value.get("file_id"), "file_id")
    blocks = value.get("blocks")
    if isinstance(blocks, list) and len(blocks) > MAX_BLOCKS:
        raise SourceError("sends a file of more than 10,000 blocks")
    position = read_size(value.get("position"))
    return file_id, Facts(position, read_size(value.get("size")), read_sha256(value.get("sha256")), read_blocks(blocks))


def _read_uuid(value: Any, name: str) -> UUID:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise SourceError(f"sends a `{name}` that is not a UUID")
    return UUID(value)


def _read_count(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is not None and read_size(value) is None:
        raise SourceError(f"sends a `{name}` that is not a whole number")
    return read_size(value)
