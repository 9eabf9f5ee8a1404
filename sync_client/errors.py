"""Errors, by the remedy of the caller."""

from sync_client.models import Problem

LOST_EVENT_TYPE = "urn:sync-service:problem:cursor-of-lost-event"


class SyncError(Exception):
    """The base of all errors of this client; the message is safe to show."""


class Unavailable(SyncError):
    """The service could not be reached, or was busy, for as many attempts as the policy allows; try again later.

    A request to record something may have succeeded: repeat it with the same idempotency key.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0, *, not_acted_on: bool = False) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.not_acted_on = not_acted_on  # the service has certainly done nothing: a repetition is safe


class InvalidCall(SyncError, ValueError):
    """The call itself is wrong, and nothing was sent: an id that is not a UUID, a closed client, an empty token."""


class SignatureRefused(SyncError, ValueError):
    """A webhook that was not signed with the secret within five minutes, or is not a message of the service."""


class UnexpectedAnswer(SyncError):
    """The response is not from Sync Service, or from a version that this client does not understand."""


class GapError(SyncError):
    """The feed left out positions that it should have covered, or contradicts itself. Nothing was skipped silently."""


class CursorStoreError(SyncError):
    """The saved cursor cannot be read or written."""


class Refused(SyncError):
    """The service refuses this request permanently; `problem` has the reason. Its subclasses are common reasons."""

    def __init__(self, status: int, problem: Problem, request_id: str | None = None) -> None:
        super().__init__(_describe(status, problem))
        self.status = status
        self.problem = problem
        self.request_id = request_id  # names the request in the service's log


class BadRequest(Refused):
    """400: for the feed, a cursor that is damaged, of another filter, of another ledger, or ahead of it."""


class Unauthorized(Refused):
    """401: the token is missing, expired or not valid, and so is a new one from its source."""


class Forbidden(Refused):
    """403: the token lacks the scope."""


class NotFound(Refused):
    """404: the resource does not exist, or there is no Sync Service at this address."""


class Conflict(Refused):
    """409: the state of the resource does not allow this."""


class PreconditionFailed(Refused):
    """412: the resource was changed since its `etag` was read."""


class CursorExpired(Refused):
    """410: changes after the cursor are no longer kept. Take a snapshot, then continue from `oldest_cursor`."""

    @property
    def oldest_cursor(self) -> str | None:
        """The cursor that continues with the oldest change that is kept."""
        cursor = (self.problem.model_extra or {}).get("cursor")
        return cursor if isinstance(cursor, str) else None

    @property
    def oldest_position(self) -> int | None:
        """The position of the oldest change that is kept."""
        position = (self.problem.model_extra or {}).get("oldest_position")
        return position if isinstance(position, int) else None


class EventsLost(CursorExpired):
    """The service lost events that the follower had read, and assigned their positions to other events.

    Compare your data with the ledger, by `event_id`; `oldest_cursor` (None: the beginning) continues with the oldest.
    """

    @classmethod
    def at(cls, position: int) -> "EventsLost":
        """Raised when the client itself finds that another event has this position."""
        detail = f"position {position} of the feed holds another event than before: the service has lost events"
        lost = cls(410, Problem(type=LOST_EVENT_TYPE, title="Gone", status=410, detail=detail))
        lost.args = (detail,)
        return lost


class Invalid(Refused):
    """422: the request is invalid; `problem.errors` has the fields, or the idempotency key belongs to another event."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: CursorExpired,
    412: PreconditionFailed,
    422: Invalid,
}


def refusal(status: int, problem: Problem, request_id: str | None) -> Refused:
    """The error that belongs to a response with this status and problem."""
    kind = EventsLost if problem.type == LOST_EVENT_TYPE else _BY_STATUS.get(status, Refused)
    return kind(status, problem, request_id)


def _describe(status: int, problem: Problem) -> str:
    places = [f"({'.'.join(map(str, error.loc))}: {error.msg})" for error in problem.errors]
    return " ".join(["the service says", str(status), *filter(None, (problem.title, problem.detail)), *places])
