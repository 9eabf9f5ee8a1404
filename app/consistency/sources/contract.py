"""Asks a source of kind `contract` (docs/consistency.md), and believes nothing that does not keep to the contract."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.consistency.comparison import MEMBERS, Facts, read_facts, read_size
from app.consistency.models import Source
from app.consistency.sources.request import (
    BACKGROUND,
    MAX_BLOCKS,
    MAX_ITEM_BYTES,
    BlockFilter,
    InventoryPage,
    RequestRetries,
    SourceError,
    SourceFile,
    ask,
    expect_success,
    limit_time,
    read_object,
    read_uuid,
)
from app.consistency.sources.schemas import SourceTest
from app.outbound.client import AttemptResponse, OutboundClient
from app.outbound.endpoint import decrypt_headers
from app.outbound.secret import EncryptionKeyMissing, NoEncryptionKey, SecretCipher

PAGE_ITEMS = 1000
_KEPT = frozenset({"file_id", "position", *MEMBERS})  # of the members of an item


class ContractClient:
    """Sends the requests of the contract. A request takes at most the time-out of `client`."""

    def __init__(self, client: OutboundClient, cipher: SecretCipher) -> None:
        self._client = client
        self._cipher = cipher

    def headers(self, source: Source) -> dict[str, str]:
        """The source's own headers, of each request; raises `SourceError` if no key decrypts them."""
        try:
            return decrypt_headers(self._cipher, source.headers)
        except (NoEncryptionKey, EncryptionKeyMissing):
            raise SourceError("cannot be asked: the key that its headers are encrypted with is not set") from None

    async def get_page(self, source: Source, after: UUID | None) -> InventoryPage:
        """The page of the inventory after the file `after`.

        Raises:
            SourceError: there is no such page, or it breaks the contract.
        """
        async with limit_time(BACKGROUND.seconds):
            return await self._get_page(source, after, PAGE_ITEMS, BACKGROUND)

    async def get_file(
        self, source: Source, file_id: UUID, retries: RequestRetries, _read_block: BlockFilter
    ) -> SourceFile:
        """See `SourceClient`. A 404 counts only when the inventory works and does not list the file."""
        async with limit_time(retries.seconds):
            response = await self._ask(source, f"/{file_id}", retries)
            if response.status_code == 404:
                before = UUID(int=file_id.int - 1) if file_id.int else None
                page = await self._get_page(source, before, 1, retries)
                if any(listed == file_id for listed, _ in page.items):
                    raise SourceError("responds 404 for a file that its inventory lists")
                return SourceFile(None, page.watermark)
            if len(response.content) > MAX_ITEM_BYTES:
                raise SourceError("sends an item of more than 1 MiB")
            document = read_object(expect_success(response))
            listed, item = _read_item(document)
            if listed != file_id:
                raise SourceError("responds with another file than the one asked for")
            return SourceFile(read_item_facts(item), _read_count(document, "watermark"))

    async def test(self, source: Source) -> SourceTest:
        """Ask once for one item."""
        response = AttemptResponse(duration_seconds=0)
        try:
            response = await self._client.get(_url(source, "?limit=1"), self.headers(source))
            return SourceTest.of(response, _read_page(expect_success(response), None))
        except SourceError as error:
            return SourceTest.of(response, error=error)

    async def _get_page(self, source: Source, after: UUID | None, limit: int, retries: RequestRetries) -> InventoryPage:
        query = f"?limit={limit}" if after is None else f"?after={after}&limit={limit}"
        return _read_page(expect_success(await self._ask(source, query, retries)), after)

    async def _ask(self, source: Source, path: str, retries: RequestRetries) -> AttemptResponse:
        url, headers = _url(source, path), self.headers(source)
        return await ask(lambda: self._client.get(url, headers), retries)


def _url(source: Source, path: str) -> str:
    return f"{source.url.rstrip('/')}/inventory{path}"


def _read_page(content: bytes, after: UUID | None) -> InventoryPage:
    """Parse a page and check its order; raises `SourceError` if it breaks the contract."""
    document = read_object(content)
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
    following = None if document.get("next") is None else read_uuid(document["next"], "next")
    if following is not None and (not items or (after is not None and following <= after)):
        raise SourceError("repeats a page: its `next` does not lead on")
    if following is not None and following < items[-1][0]:
        raise SourceError("sends a `next` that lies before the end of its page")
    return InventoryPage(items, following, _read_count(document, "total"), _read_count(document, "watermark"))


def read_item_facts(item: Mapping[str, Any]) -> Facts:
    """The values of an item."""
    return read_facts(item, read_size(item.get("position")))


def _read_item(value: Any) -> tuple[UUID, dict[str, Any]]:
    if not isinstance(value, dict):
        raise SourceError("sends an item that is not a JSON object")
    file_id = read_uuid(value.get("file_id"), "file_id")
    blocks = value.get("blocks")
    if isinstance(blocks, list) and len(blocks) > MAX_BLOCKS:
        raise SourceError("sends a file of more than 10,000 blocks")
    # Pages are kept until they are compared, so that other members would take memory for a long time.
    return file_id, value if value.keys() <= _KEPT else {name: value[name] for name in _KEPT & value.keys()}


def _read_count(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is not None and read_size(value) is None:
        raise SourceError(f"sends a `{name}` that is not a whole number")
    return read_size(value)
