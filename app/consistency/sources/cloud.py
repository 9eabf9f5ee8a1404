"""Asks the source of kind `cloud`: the metadata service and the block store as they are, which know no inventory."""

import hashlib
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

from app.config import Settings
from app.consistency.comparison import Block, Facts
from app.consistency.models import Source
from app.consistency.sources.request import (
    BACKGROUND,
    MAX_BLOCKS,
    MAX_HEADER_BYTES,
    MAX_ITEM_BYTES,
    MAX_PAGE_BYTES,
    REFRESH,
    BlockFilter,
    NotVisible,
    RequestRetries,
    SourceError,
    SourceFile,
    ask,
    expect_success,
    limit_time,
    read_json,
    read_object,
    read_uuid,
)
from app.consistency.sources.schemas import SourceTest
from app.consistency.sources.token import TokenSource
from app.outbound.address import AddressPolicy
from app.outbound.client import AttemptResponse, OutboundClient

LIST_ITEMS = 100
MAX_LIST_ITEMS = 1000  # of an owner that does not keep to the number
BLOCK_SECONDS = 60.0  # to read one block
MAX_BLOCK_BYTES = 2**30
FILE_SECONDS = 3600.0  # all requests about one file; each has its own limits besides
NO_RIGHTS = (
    "responds 404, as it does for other people's files too; "
    "CONSISTENCY_TOKEN_SEES_ALL=true says that the token sees every file"
)
METADATA, BLOCKS = "has a metadata service that ", "has a block store that "


class CloudClient:
    """Sends the requests. The addresses, which the environment names, are trusted."""

    def __init__(self, settings: Settings, trust: ssl.SSLContext | None) -> None:
        policy, seconds = AddressPolicy(allow_private=True, ports=frozenset()), settings.consistency_timeout
        most = MAX_PAGE_BYTES + MAX_HEADER_BYTES
        self.url = settings.metadata_service_url
        self._block_url = settings.block_storage_service_url
        self.sees_all = settings.consistency_token_sees_all
        self._client = OutboundClient(policy, seconds, ssl_context=trust, max_response_bytes=most)
        self._block_client = OutboundClient(policy, seconds, ssl_context=trust, max_response_bytes=MAX_BLOCK_BYTES)
        self._tokens = TokenSource(settings, self._client)
        self._head_works: bool | None = None  # None: not tried yet

    async def get_file(
        self, _source: Source, file_id: UUID, retries: RequestRetries, read_block: BlockFilter
    ) -> SourceFile:
        """See `SourceClient`. A file of n blocks costs n + 2 requests.

        A 404 counts only when the token sees every file, the list of files works and its page does not show the file.
        """
        async with limit_time(retries.seconds if retries is REFRESH else FILE_SECONDS):
            response = await self._get(f"/files/{file_id}", retries)
            if response.status_code == HTTPStatus.NOT_FOUND:
                if not self.sees_all:
                    raise NotVisible(NO_RIGHTS)
                if file_id in await self._list_files(0, 1, retries):
                    raise SourceError("responds 404 for a file that its list shows")
                return SourceFile(None, None)
            if len(response.content) > MAX_ITEM_BYTES:
                raise SourceError("sends a file of more than 1 MiB")
            document = read_object(expect_success(response, METADATA))
            if "file_id" in document and read_uuid(document["file_id"], "file_id") != file_id:
                raise SourceError("responds with another file than the one asked for")
            chunks = await self._get(f"/files/{file_id}/chunks", retries)
            block_ids = _read_chunks(expect_success(chunks, METADATA))
            return SourceFile(await self._find_blocks(block_ids, retries, read_block), None)

    async def list_files(self, skip: int) -> list[UUID]:
        """Some of the caller's own files after the first `skip`, in no order; none at the end.

        Raises:
            SourceError: there is no such list.
        """
        async with limit_time(BACKGROUND.seconds):
            return await self._list_files(skip, LIST_ITEMS, BACKGROUND)

    async def test(self, _source: Source) -> SourceTest:
        """Ask the metadata service for one file, and the block store for its list."""
        response = AttemptResponse(duration_seconds=0)
        try:
            headers = await self._tokens.headers()
            response = await self._client.get(f"{self.url}/files?limit=1", headers)
            _read_files(expect_success(response, METADATA))
            expect_success(await self._client.get_status(f"{self._block_url}/chunks", headers), BLOCKS)
        except SourceError as error:
            return SourceTest.of(response, error=error)
        return SourceTest.of(response)

    async def close(self) -> None:
        """Close all connections."""
        self._tokens.close()
        await self._client.close()
        await self._block_client.close()

    async def _find_blocks(self, block_ids: Collection[str], retries: RequestRetries, read_block: BlockFilter) -> Facts:
        held: dict[str, Block] = {}
        lost: set[str] = set()
        for block_id in block_ids:
            find = self._read if read_block(block_id) else self._find
            block = await find(block_id, retries)
            if block is None:
                lost.add(block_id)
            else:
                held[block_id] = block
        if lost and not held:  # a block store that has moved knows no block at all
            listing = await self._ask_blocks(self._client.get_status, f"{self._block_url}/chunks", retries)
            expect_success(listing, BLOCKS)
        return Facts(blocks=held, lost_blocks=frozenset(lost))

    async def _find(self, block_id: str, retries: RequestRetries) -> Block | None:
        """Whether the block store holds the block, by its status alone."""
        url = self._block_address(block_id)
        if self._head_works:
            response = await self._ask_blocks(self._client.head, url, retries)
        else:
            response = await self._ask_blocks(self._client.get_status, url, retries)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        expect_success(response, BLOCKS)
        if self._head_works is None:
            self._head_works = False
            tried = await self._client.head(url, await self._tokens.headers())
            self._head_works = tried.status_code == HTTPStatus.OK
        return Block()

    async def _read(self, block_id: str, retries: RequestRetries) -> Block | None:
        """Read and hash the block."""
        digest = _Digest()

        async def read(url: str, headers: dict[str, str]) -> AttemptResponse:
            nonlocal digest
            digest = _Digest()
            return await self._block_client.stream(url, headers, digest.add, BLOCK_SECONDS)

        response = await self._ask_blocks(read, self._block_address(block_id), retries)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        expect_success(response, BLOCKS)
        return Block(digest.size, digest.sha256.hexdigest())

    def _block_address(self, block_id: str) -> str:
        if not block_id or {".", ".."} & set(block_id.split("/")):
            raise SourceError("names a block whose `storage_path` is no path")
        return f"{self._block_url}/chunks/{quote(block_id.encode('utf-8', 'replace'), safe='/')}"

    async def _list_files(self, skip: int, limit: int, retries: RequestRetries) -> list[UUID]:
        query = f"/files?skip={skip}&limit={limit}" if skip else f"/files?limit={limit}"
        return _read_files(expect_success(await self._get(query, retries), METADATA))

    async def _get(self, path: str, retries: RequestRetries) -> AttemptResponse:
        async with limit_time(retries.seconds):
            return await self._ask(self._client.get, self.url + path, retries, METADATA)

    async def _ask_blocks(self, send: "_Send", url: str, retries: RequestRetries) -> AttemptResponse:
        return await self._ask(send, url, retries, BLOCKS)

    async def _ask(self, send: "_Send", url: str, retries: RequestRetries, who: str) -> AttemptResponse:
        if not self.url:
            raise SourceError("cannot be asked: METADATA_SERVICE_URL and BLOCK_STORAGE_SERVICE_URL are not set")

        async def ask_once() -> AttemptResponse:
            headers = await self._tokens.headers()
            response = await send(url, headers)
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                self._tokens.refuse(headers)
            return response

        return await ask(ask_once, retries, who)


_Send = Callable[[str, dict[str, str]], Awaitable[AttemptResponse]]


@dataclass
class _Digest:
    """The size and the hash of a block that is read in parts."""

    size: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def add(self, part: bytes) -> None:
        self.size += len(part)
        self.sha256.update(part)


def _read_chunks(content: bytes) -> Collection[str]:
    """The ids of the blocks that the metadata service lists, each once."""
    listed = _read_list(content, "blocks")
    if len(listed) > MAX_BLOCKS:
        raise SourceError("sends a file of more than 10,000 blocks")
    paths = {path: None for one in listed if isinstance(path := one.get("storage_path"), str)}
    if not all(isinstance(one.get("storage_path"), str) for one in listed):
        raise SourceError("sends a block without a `storage_path`")
    return paths.keys()


def _read_files(content: bytes) -> list[UUID]:
    listed = _read_list(content, "files")
    if len(listed) > MAX_LIST_ITEMS:
        raise SourceError("sends a page of more than 1,000 files")
    return [read_uuid(one.get("file_id"), "file_id") for one in listed]


def _read_list(content: bytes, what: str) -> list[dict[str, Any]]:
    document = read_json(content)
    if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
        raise SourceError(f"sends something else than a list of {what}")
    return document
