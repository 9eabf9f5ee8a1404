"""Errors of authentication, as problem details with the challenges of RFC 6750, section 3."""

from enum import StrEnum
from typing import Self

from app.errors import ProblemError, Unavailable

_CHALLENGE = 'Bearer realm="sync-service"'


class Reason(StrEnum):
    """Why a token was rejected. The value is a metrics label, `description` the text for the caller.

    A description is fixed text of the characters that RFC 6750 allows in `error_description`; it never contains
    anything from the token.
    """

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    MISSING = "missing", "Send a bearer token in the Authorization header."
    AMBIGUOUS = "ambiguous", "More than one Authorization header was sent."
    TOO_LARGE = "too_large", "The token is larger than 8192 bytes."
    MALFORMED = "malformed", "This is not a well-formed signed JSON Web Token."
    ALGORITHM = "algorithm", "The token is signed with an algorithm that is not accepted."
    HEADER = "header", "The header of the token has a parameter that is not accepted."
    KEY_ID = "key_id", "The header of the token has no usable key id (kid)."
    UNKNOWN_KEY = "unknown_key", "The token is signed with a key that is not known."
    SIGNATURE = "signature", "The signature of the token is not valid."
    CLAIMS = "claims", "A claim of the token (exp, nbf, iat, iss, aud) is missing or has the wrong type."
    SUBJECT = "subject", "The subject (sub) of the token is missing, too long or not printable."
    ISSUER = "issuer", "The token is from another issuer (iss)."
    AUDIENCE = "audience", "The token is for another audience (aud)."
    EXPIRED = "expired", "The token has expired (exp)."
    NOT_YET_VALID = "not_yet_valid", "The token is not valid yet (nbf)."
    ISSUED_LATER = "issued_later", "The token says it was issued in the future (iat)."


class TokenRejected(ProblemError):
    """401. The challenge has an error code only when a token was sent (RFC 6750, section 3.1)."""

    status, code = 401, "unauthenticated"
    reason: Reason

    def __init__(self, reason: Reason) -> None:
        challenge = _CHALLENGE
        if reason is not Reason.MISSING:
            challenge += f', error="invalid_token", error_description="{reason.description}"'
        super().__init__(reason.description, headers={"WWW-Authenticate": challenge})
        self.reason = reason


class ScopeMissing(ProblemError):
    """403; the challenge names the scope that is needed (RFC 6750, section 3.1)."""

    status, code = 403, "insufficient-scope"

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"This needs a token with the scope {scope}.",
            headers={"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
        )
        self.scope = scope


class KeysUnavailable(Unavailable):
    """503: there are no signing keys, so that no token can be verified."""

    code = "keys-unavailable"
    detail = "Tokens cannot be verified now, because the signing keys are out of reach; try again."
