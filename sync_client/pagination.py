"""Follows the `Link` header of pages (RFC 8288)."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import httpx
from pydantic import TypeAdapter

from sync_client.connection import Connection, Content

Query = Mapping[str, str | int | list[str] | None]


def next_page(response: httpx.Response) -> httpx.QueryParams | None:
    """The query of the page after that of `response`, if there is one.

    The link is resolved against the URL of the request, and only its query is used: a proxy may have moved the service
    to another path, and the token stays here.
    """
    link = response.links.get("next")
    return response.url.join(link["url"]).params if link else None


async def list_pages(
    connection: Connection,
    path: str,
    kind: TypeAdapter[tuple[Content, ...]],
    query: Query,
    rank: Callable[[Content], Any],
) -> AsyncGenerator[Content, None]:
    """The items of all pages, each of them once; a page may be empty and others follow. `rank` rises along the list.

    New items between two requests push items to the next page, which then repeats some of the last page.
    """
    given: httpx.QueryParams | None = httpx.QueryParams({k: v for k, v in query.items() if v is not None})
    reached: Any = None
    while given is not None:
        page, response = await connection.get(path, kind, given)
        for item in page:
            if reached is None or rank(item) > reached:
                reached = rank(item)
                yield item
        given = next_page(response)
