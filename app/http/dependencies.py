"""Shared dependencies: sessions, whose transaction begins and ends here, the condition If-Match, and links to pages.

Every dependency is a coroutine, also where it awaits nothing: FastAPI runs plain functions in a thread each.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Depends, Header, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.engine import Database
from app.errors import FieldError, ProblemError, Unprocessable
from app.http.pages import PageMemory

# An empty element of the list counts for nothing (RFC 9110, section 5.6.1).
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7E\x80-\xFF]*")')
ENTITY_TAGS = r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'

ETAG_HEADER = {
    "ETag": {
        "description": "Names the version of what clients can change (RFC 9110, section 8.8.3); send it as `If-Match`.",
        "schema": {"type": "string"},
    }
}
LINK_HEADER = {
    "Link": {
        "description": 'Relative references to neighbouring pages, `rel="next"` and `rel="prev"` (RFC 8288).',
        "schema": {"type": "string"},
    }
}


def from_state(name: str) -> Any:
    """The dependency on what the lifespan has built for the requests of the process, by its name in their state.

    The name of an attribute may follow, after a dot.
    """
    find = attrgetter(name)

    async def get(request: Request) -> Any:
        return find(request.state)

    return Depends(get)


CurrentDatabase = Annotated[Database, from_state("database")]
CurrentPageMemory = Annotated[PageMemory, from_state("page_memory")]


async def read_session(database: CurrentDatabase) -> AsyncIterator[AsyncSession]:
    async with database.read() as session:
        yield session


async def write_session(database: CurrentDatabase) -> AsyncIterator[AsyncSession]:
    """A session in one transaction, committed before the response is sent."""
    async with database.transaction() as session:
        yield session


class PreconditionFailed(ProblemError):
    """412: the resource has changed since the client read it."""

    status, code = 412, "precondition-failed"
    detail = "The resource has changed: get it again, and send the ETag of that response as If-Match."


def version_etag(version: int) -> str:
    """The strong entity tag of a resource in its `version`."""
    return f'"{version}"'


class IfMatch:
    """A condition that one of `tags` is the current one; None means any.

    A weak tag counts as the strong one, unlike in section 13.1.1: proxies that compress responses weaken the tags, and
    a tag names a version, not bytes.
    """

    def __init__(self, tags: frozenset[str] | None = None) -> None:
        self._tags = tags

    @classmethod
    def parse(cls, values: Sequence[str]) -> Self:
        """The condition of a request with these If-Match headers.

        Raises:
            ValueError: they are not `*` or a list of entity tags.
        """
        text = ",".join(values)
        if not values or text.strip(" \t") == "*":
            return cls()
        parts = _TAG.split(text)
        gaps, tags = parts[::2], parts[1::2]
        if not tags or "".join(gaps).strip(" \t,") or not all("," in gap for gap in gaps[1:-1]):
            raise ValueError("no list of entity tags")
        return cls(frozenset(tags))

    def check(self, version: int) -> None:
        """Check the condition against the current `version`; raises `PreconditionFailed` (412)."""
        if self._tags is not None and version_etag(version) not in self._tags:
            raise PreconditionFailed

    def names(self, tag: str) -> bool:
        """Whether `tag` is in the list; `*` names no tag."""
        return self._tags is not None and tag in self._tags


async def get_condition(
    request: Request,
    if_match: Annotated[  # noqa: ARG001 - for the documentation; several headers make one list
        str | None,
        Header(
            description="The `ETag` of an earlier response: nothing is done unless it is still the current one. "
            "Without it, or with `*`, the last one to write wins.",
            json_schema_extra={"pattern": ENTITY_TAGS},
        ),
    ] = None,
) -> IfMatch:
    return read_condition(request)


def read_condition(request: Request) -> IfMatch:
    """The condition of the request.

    Raises:
        Unprocessable: 422 when the header is malformed.
    """
    try:
        return IfMatch.parse(request.headers.getlist("if-match"))
    except ValueError:
        error = FieldError(loc=["header", "if-match"], msg="Input should be * or a list of ETags", type="etag_list")
        raise Unprocessable("The header If-Match cannot be read.", errors=[error]) from None


def page_links(
    request: Request, *, limit: int, offset: int, has_next: bool, following: Mapping[str, int | str] | None = None
) -> dict[str, str]:
    """The `Link` header of a page: empty on the only page.

    The next page has the query `following`, by default the next `offset`.
    """
    links = []
    if has_next:
        links.append(f'<{_page(request, limit, following or {"offset": offset + limit})}>; rel="next"')
    if offset > 0:
        links.append(f'<{_page(request, limit, {"offset": max(0, offset - limit)})}>; rel="prev"')
    return {"Link": ", ".join(links)} if links else {}


def _page(request: Request, limit: int, query: Mapping[str, int | str]) -> str:
    changed = {"limit", "offset", *query}
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in changed]
    return f"?{urlencode([*kept, ('limit', limit), *query.items()])}"


ReadSession = Annotated[AsyncSession, Depends(read_session, scope="function")]
WriteSession = Annotated[AsyncSession, Depends(write_session, scope="function")]
Condition = Annotated[IfMatch, Depends(get_condition)]
