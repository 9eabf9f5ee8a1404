"""A follower's progress: the service's cursor, and the position within the page after that cursor."""

import re
from dataclasses import dataclass
from typing import Self

from sync_client.errors import InvalidCall
from sync_client.models import Event

EVENT_DIGITS = 12
_TEXT = re.compile(r"(?P<cursor>[!-}]{1,1024})(?:~(?P<position>[0-9]{1,19})(?:~(?P<event>[0-9a-f]{12}))?)?")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to `position` is read. A request from `cursor` returns the changes after it, and maybe some before.

    `cursor` is None before the first response, and the position unknown with a cursor that came from elsewhere.

    The service returns a cursor only for the end of a page. With the position a follower continues in the middle of a
    page, and checks across a restart that nothing is missing. `event` is the end of the id of the event at that
    position, in hexadecimal digits; with it the follower detects that the service has lost the event. At the end of a
    page it is None, because the service's cursor contains it.
    """

    cursor: str | None = None
    position: int | None = None
    event: str | None = None

    @classmethod
    def at(cls, cursor: str | None, change: Event) -> Self:
        """The bookmark after `change`, on the page that `cursor` leads to."""
        return cls(cursor, change.position, end_of_id(change))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote, or a cursor of the service.

        Raises:
            InvalidCall: it is neither.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise InvalidCall("this is not a cursor")
        position = found["position"]
        return cls(found["cursor"], int(position) if position else None, found["event"])

    def __str__(self) -> str:
        text = f"{self.cursor}~{self.position}"
        return text if self.event is None else f"{text}~{self.event}"


def end_of_id(event: Event) -> str:
    """The part of an event that a bookmark keeps: the last digits of its id, which are random."""
    return event.event_id.hex[-EVENT_DIGITS:]
