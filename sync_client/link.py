"""Reads the `Link` header of a page (RFC 8288)."""

import httpx


def next_page(headers: httpx.Headers) -> httpx.QueryParams | None:
    """The query of the next page, if there is one.

    The rest of the link is left alone: a proxy may have moved the service to another path, and the token stays here.
    """
    link = httpx.Response(httpx.codes.OK, headers=headers).links.get("next")
    return httpx.URL(link["url"]).params if link else None
