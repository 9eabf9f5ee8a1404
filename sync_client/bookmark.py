"""How far a follower has read: the service's cursor, and the position reached within the page that it leads to."""

import re
from dataclasses import dataclass
from typing import Self

from sync_client.errors import InvalidCall
from sync_client.models import Event

EVENT_DIGITS = 12
_TEXT = re.compile(r"(?P<cursor>[!-}]{1,1024})(?:~(?P<position>[0-9]{1,19})(?:~(?P<event>[0-9a-f]{12}))?)?")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to `position` is read; asking the service from `cursor` gives what follows, and maybe some before.

    `cursor` is None before the first response, and the position unknown with a cursor that came from elsewhere.

    The service has a cursor for the end of a page alone. With the position beside it a follower goes on in the middle
    of a page, and checks across a restart that nothing is missing. `event` is the end of the id of the event at that
    position, in hexadecimal digits: by it the follower sees that the service has lost the event. At the end of a page
    it is None, because the service's cursor says the same.
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
    """What a bookmark keeps of an event: the last digits of its id, which are random."""
    return event.event_id.hex[-EVENT_DIGITS:]
