"""How far a follower has read: the service's cursor, and the position reached within the page that it leads to."""

import re
from dataclasses import dataclass
from typing import Self

_TEXT = re.compile(r"(?P<cursor>[!-}]{1,1024})(?:~(?P<position>[0-9]{1,19}))?")


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to `position` is read; asking the service from `cursor` gives what follows, and maybe some before.

    `cursor` is None before the first answer, and the position unknown with a cursor that came from elsewhere.

    The service has a cursor for the end of a page alone. With the position beside it a follower goes on in the middle
    of a page, and checks across a restart that nothing is missing.
    """

    cursor: str | None = None
    position: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote, or a cursor of the service.

        Raises:
            ValueError: it is neither.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise ValueError("this is not a cursor")
        position = found["position"]
        return cls(found["cursor"], int(position) if position else None)

    def __str__(self) -> str:
        return f"{self.cursor}~{self.position}"
