"""Proves that pages of the feed leave nothing out."""

from itertools import pairwise

from sync_client.bookmark import Bookmark, end_of_id
from sync_client.errors import EventsLost, GapError
from sync_client.models import ChangePage


def check_continuity(page: ChangePage, *, after: int | None, filtered: bool) -> None:
    """Check that `page` continues directly after position `after` (None: anywhere).

    Raises:
        GapError: its range begins too late, the ledger ends too early, or its changes do not fit its range. Without
            filters they must have every position of the range; with filters, ascending positions within it.
    """
    first, last = page.from_position, page.to_position
    if after is not None and first > after + 1:
        raise GapError(f"the feed left out positions {after + 1} to {first - 1}")
    if after is not None and page.head_position < after:
        raise GapError(
            f"the ledger ends at position {page.head_position}, though it had {after} before: was a backup restored?"
        )
    positions = [change.position for change in page.changes]
    if filtered:
        bounds = [first - 1, *positions, last + 1]
        if any(one >= next_one for one, next_one in pairwise(bounds)):
            raise GapError(
                f"the feed says that it covers positions {first} to {last}, but its changes do not ascend so"
            )
    elif positions != list(range(first, last + 1)):
        raise GapError(f"the feed says that it covers positions {first} to {last}, but it gives others")


def check_same_event(page: ChangePage, bookmark: Bookmark) -> None:
    """Check that `page`, if it covers the position of `bookmark`, has the event there that was read before.

    Raises:
        EventsLost: it has another one, or none.
    """
    if bookmark.event is None or bookmark.position is None:
        return
    if page.from_position <= bookmark.position <= page.to_position:
        found = [end_of_id(change) for change in page.changes if change.position == bookmark.position]
        if found != [bookmark.event]:
            raise EventsLost.at(bookmark.position)
