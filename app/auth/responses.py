"""The errors of every route that needs a token, for the OpenAPI document."""

from app.auth.errors import KeysUnavailable, Reason, ScopeMissing, TokenRejected
from app.auth.principal import Scope
from app.auth.rate_limit import RateLimited
from app.database.errors import DatabaseUnavailable
from app.errors import ProblemError, Unprocessable, unknown_parameter
from app.http.middleware import TooManyUnderWay


def token_problems(scope: Scope) -> list[ProblemError]:
    """What every route can raise that needs a token with `scope`."""
    unknown = unknown_parameter([])
    return [
        TokenRejected(Reason.MISSING),
        TokenRejected(Reason.EXPIRED),
        TokenRejected(Reason.SIGNATURE),
        ScopeMissing(scope),
        Unprocessable("The query is not valid; `errors` says where and why.", errors=[unknown]),
        RateLimited(wait_seconds=1),
        TooManyUnderWay(),
        DatabaseUnavailable(),
        KeysUnavailable(),
    ]
