"""Why the feed can not go on from a cursor."""

from app.errors import ProblemError, Unavailable

START_ANEW = "Without a cursor the feed begins with the oldest event, with `cursor=latest` after the newest."


class CursorInvalid(ProblemError):
    """400: it was not given out by this service as it is now."""

    status, code = 400, "cursor-invalid"
    detail = f"This is no cursor, or a damaged one: send one exactly as an answer gave it. {START_ANEW}"


class CursorOfOtherFilter(ProblemError):
    """400: a cursor says how far one filter was read, and nothing about another."""

    status, code = 400, "cursor-of-other-filter"
    detail = (
        "The cursor was given out for another `event_type` or `file_id`: send the same as before. "
        f"To follow another filter, begin anew. {START_ANEW}"
    )


class CursorOfOtherLedger(ProblemError):
    """400: the database is not the one that it was given out for."""

    status, code = 400, "cursor-of-other-ledger"
    detail = (
        "The cursor was given out for another ledger, so its position means nothing here: "
        f"check the address of the service, or begin anew. {START_ANEW}"
    )


class CursorAhead(ProblemError):
    """400: the ledger has lost events that the follower has seen."""

    status, code = 400, "cursor-ahead"
    detail = (
        "The cursor is ahead of the newest event: the database was restored from an older backup. "
        f"Compare what you hold with the ledger, and begin anew. {START_ANEW}"
    )


class CursorGone(ProblemError):
    """410: events after the cursor were deleted; `cursor` goes on with the oldest that is kept."""

    status, code = 410, "cursor-gone"
    detail = (
        "Events after this cursor are not kept any more; the oldest kept is at `oldest_position`. "
        "Take a snapshot of what you follow, then go on from the `cursor` given here."
    )

    def __init__(self, oldest_position: int, cursor: str) -> None:
        super().__init__(members={"oldest_position": oldest_position, "cursor": cursor})


class CursorOfLostEvent(ProblemError):
    """410: the ledger has lost events that the follower has seen, and has given their positions to others."""

    status, code = 410, "cursor-of-lost-event"
    detail = (
        "The ledger has another event at the position of this cursor: a failover or a restore has lost events that "
        "you have read, and others have taken their positions. Compare what you hold with the ledger, by `event_id`: "
        "the `cursor` given here goes on with the oldest event that is kept, at `oldest_position`."
    )

    def __init__(self, oldest_position: int, cursor: str) -> None:
        super().__init__(members={"oldest_position": oldest_position, "cursor": cursor})


class TooManyFollowers(Unavailable):
    """503: as many streams and long polls as may be are open in this process."""

    code = "too-many-followers"
    detail = "Too many streams and long polls are open here; try again, or read pages without `wait`."
