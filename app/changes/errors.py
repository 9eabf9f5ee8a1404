"""Errors of the change feed: refused cursors, and the follower limit."""

from app.errors import ProblemError, Unavailable

START_OVER = "Without a cursor the feed begins with the oldest event, with `cursor=latest` after the newest."


class CursorInvalid(ProblemError):
    """400: the text is not a cursor that this service returned."""

    status, code = 400, "cursor-invalid"
    detail = f"Invalid or damaged cursor: send it exactly as a response returned it. {START_OVER}"


class CursorOfOtherFilter(ProblemError):
    """400: the cursor belongs to another filter."""

    status, code = 400, "cursor-of-other-filter"
    detail = (
        "The cursor was returned for another `event_type` or `file_id`: send the same filter as before. "
        f"To follow another filter, start over. {START_OVER}"
    )


class CursorOfOtherLedger(ProblemError):
    """400: the cursor belongs to another ledger."""

    status, code = 400, "cursor-of-other-ledger"
    detail = (
        "The cursor belongs to another ledger, so its position is not valid here: "
        f"check the address of the service, or start over. {START_OVER}"
    )


class CursorAhead(ProblemError):
    """400: the ledger has lost events that the follower has seen."""

    status, code = 400, "cursor-ahead"
    detail = (
        "The cursor is ahead of the newest event: the database was restored from an older backup. "
        f"Compare your data with the ledger, and start over. {START_OVER}"
    )


class CursorGone(ProblemError):
    """410: events after the cursor were deleted; `cursor` continues with the oldest event that is kept."""

    status, code = 410, "cursor-gone"
    detail = (
        "Events after this cursor were deleted; the oldest event that is kept is at `oldest_position`. "
        "Take a snapshot of the files, then continue from the `cursor` in this response."
    )

    def __init__(self, oldest_position: int, cursor: str) -> None:
        super().__init__(members={"oldest_position": oldest_position, "cursor": cursor})


class CursorOfLostEvent(ProblemError):
    """410: the ledger has lost events that the follower has seen, and other events have their positions now."""

    status, code = 410, "cursor-of-lost-event"
    detail = (
        "The ledger has another event at the position of this cursor: a failover or a restore has lost events that "
        "you have read, and other events have their positions now. Compare your data with the ledger by `event_id`: "
        "the `cursor` in this response continues with the oldest event that is kept, at `oldest_position`."
    )

    def __init__(self, oldest_position: int, cursor: str) -> None:
        super().__init__(members={"oldest_position": oldest_position, "cursor": cursor})


class TooManyFollowers(Unavailable):
    """503: the follower limit of this process is reached."""

    code = "too-many-followers"
    detail = "Too many streams and long polls are open here; try again, or read pages without `wait`."
