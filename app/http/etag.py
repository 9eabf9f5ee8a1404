"""Entity tags, and the condition If-Match (RFC 9110, sections 8.8.3 and 13.1.1)."""

import re
from collections.abc import Sequence
from typing import Self

from app.errors import ProblemError

# One element of the list; an empty one counts for nothing (RFC 9110, section 5.6.1).
_ELEMENT = re.compile(r'[ \t]*(?:(?:W/)?("[\x21\x23-\x7E\x80-\xFF]*"))?[ \t]*(?:,|$)')
PATTERN = r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'

ETAG_HEADER = {
    "ETag": {
        "description": "Names the version of what clients can change (RFC 9110, section 8.8.3); send it as `If-Match`.",
        "schema": {"type": "string"},
    }
}


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
        text = ",".join(values).strip(" \t")
        if not values or text == "*":
            return cls()
        tags: set[str] = set()
        position, is_empty = 0, True
        while position < len(text):
            element = _ELEMENT.match(text, position)
            if element is None:
                raise ValueError("no list of entity tags")
            tag = element[1]
            is_empty = is_empty and not tag
            if tag:
                tags.add(tag)
            position = element.end()
        if is_empty:
            raise ValueError("no list of entity tags")
        return cls(frozenset(tags))

    def check(self, version: int) -> None:
        """Check the condition against the current `version`.

        Raises:
            PreconditionFailed: 412.
        """
        if self._tags is not None and version_etag(version) not in self._tags:
            raise PreconditionFailed
