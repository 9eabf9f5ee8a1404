"""The errors of the subscription routes."""

from app.errors import Conflict, FieldError, Unprocessable


class UrlRefused(Unprocessable):
    """422 at `url`."""

    def __init__(self, reason: str) -> None:
        error = FieldError(loc=["body", "url"], msg=reason, type="url_refused")
        super().__init__("The subscriber may not be at this URL; `errors` says why.", errors=[error])


class TooManyHeaders(Unprocessable):
    """422 at `headers`: together with the existing ones there would be too many."""

    def __init__(self, limit: int) -> None:
        error = FieldError(loc=["body", "headers"], msg=f"There may be {limit} headers", type="headers_number")
        super().__init__("The subscription would have too many headers.", errors=[error])


class BeyondLedger(Unprocessable):
    """422 at the member of the body that names a position."""

    def __init__(self, member: str) -> None:
        error = FieldError(loc=["body", member], msg="The ledger does not go as far as that", type="beyond_ledger")
        super().__init__("The position is beyond the end of the ledger.", errors=[error])


class TooManySubscriptions(Conflict):
    """409."""

    code = "too-many-subscriptions"

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are {limit} subscriptions, which is all that may be; see WEBHOOK_MAX_SUBSCRIPTIONS.")


class ReplayUnderWay(Conflict):
    """409."""

    code, detail = "replay-under-way", "A replay is under way; wait until `replay` of the subscription is null."


class NothingToReplay(Conflict):
    """409."""

    code = "nothing-to-replay"
    detail = "The range has no event that the subscription has been told of; what is still to come is sent anyway."
