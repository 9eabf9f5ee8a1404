"""What every route that needs a token can answer, for the OpenAPI document."""

from app.auth.errors import KeysUnavailable, Reason, ScopeMissing, TokenRejected
from app.auth.principal import Scope
from app.auth.rate_limit import RateLimited
from app.database.errors import DatabaseUnavailable
from app.errors import Unprocessable, unknown_parameter
from app.http.middleware import TooManyUnderWay
from app.http.responses import Errors


def token_errors(scope: Scope) -> Errors:
    """What a route that needs a token with `scope` can raise, whatever else it does."""
    unknown = unknown_parameter([])
    return {
        "no_token": TokenRejected(Reason.MISSING),
        "expired": TokenRejected(Reason.EXPIRED),
        "signature": TokenRejected(Reason.SIGNATURE),
        "scope": ScopeMissing(scope),
        "unknown_parameter": Unprocessable("The query is not valid; `errors` says where and why.", errors=[unknown]),
        "too_many": RateLimited(wait_seconds=1),
        "under_way": TooManyUnderWay(),
        "database": DatabaseUnavailable(),
        "keys": KeysUnavailable(),
    }
