"""The errors of the consistency routes."""

from collections.abc import Sequence

from app.errors import Conflict, FieldError, ProblemError, Unprocessable
from app.subscriptions.types import MAX_HEADERS

MAX_SOURCES = 20
MAX_REFRESHES = 4  # concurrently for each token subject


class SourceUrlRefused(Unprocessable):
    """422 at `url`."""

    def __init__(self, reason: str) -> None:
        error = FieldError(loc=["body", "url"], msg=reason, type="url_refused")
        super().__init__("The source may not be at this URL; `errors` says why.", errors=[error])


class TooManySourceHeaders(Unprocessable):
    """422 at `headers`: together with the existing ones there would be too many."""

    def __init__(self) -> None:
        message = f"There may be {MAX_HEADERS} headers"
        error = FieldError(loc=["body", "headers"], msg=message, type="headers_number")
        super().__init__("The source would have too many headers.", errors=[error])


class TooManySources(Conflict):
    """409."""

    code, detail = "too-many-sources", f"There are {MAX_SOURCES} sources, the maximum."


class SourceDisabled(Conflict):
    """409."""

    code, detail = "source-disabled", "The source is disabled; enable it first."


class FixedByEnvironment(Unprocessable):
    """422: these members of the source `cloud` come from the environment."""

    def __init__(self, names: Sequence[str]) -> None:
        message = "It comes from the environment"
        errors = [FieldError(loc=["body", name], msg=message, type="fixed_by_environment") for name in names]
        super().__init__("Of this source only `grace_seconds` and `enabled` can be changed.", errors=errors)


class SourceOfEnvironment(Conflict):
    """409."""

    code = "source-of-environment"
    detail = "The source exists because METADATA_SERVICE_URL is set; it can only be disabled."


class NotDeep(Unprocessable):
    """422 at `deep`."""

    def __init__(self) -> None:
        error = FieldError(loc=["body", "deep"], msg="The source has no blocks to read", type="not_deep")
        super().__init__("Only the blocks of the source `cloud` can be read.", errors=[error])


class TooManyRefreshes(ProblemError):
    """429."""

    status, code = 429, "too-many-refreshes"
    detail = f"Tokens of this subject have {MAX_REFRESHES} refreshes under way; wait until one ends."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})
