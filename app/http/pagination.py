"""Pagination by limit and offset, with links as in RFC 8288."""

from urllib.parse import urlencode

from fastapi import Request

LINK_HEADER = {
    "Link": {
        "description": 'Relative references to neighbouring pages, `rel="next"` and `rel="prev"` (RFC 8288).',
        "schema": {"type": "string"},
    }
}


def page_links(request: Request, *, limit: int, offset: int, has_next: bool) -> dict[str, str]:
    """The `Link` header of a page: empty on the only page."""
    links = []
    if has_next:
        links.append(f'<{_page(request, limit, offset + limit)}>; rel="next"')
    if offset > 0:
        links.append(f'<{_page(request, limit, max(0, offset - limit))}>; rel="prev"')
    return {"Link": ", ".join(links)} if links else {}


def _page(request: Request, limit: int, offset: int) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in {"limit", "offset"}]
    return f"{request.url.path}?{urlencode([*kept, ('limit', limit), ('offset', offset)])}"
