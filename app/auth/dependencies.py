"""Authentication and permissions as FastAPI dependencies."""

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from app.auth.errors import Reason, ScopeMissing, TokenRejected
from app.auth.token import Principal, Scope
from app.auth.verifier import TokenVerifier
from app.config import Settings
from app.log.request_line import bind_request_fields
from app.metrics import Metrics

_documented_scheme = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    scheme_name="bearer",
    description="A JSON Web Token, from Auth0 or, in local mode, from `python -m app token`.",
)


async def authenticate(request: Request) -> Principal:
    """The caller that sent `request`, verified by `request.state.verifier`.

    It is kept on `request.state.principal`, and the log lines that follow carry `subject`.

    Raises:
        TokenRejected: 401.
        KeysUnavailable: 503.
    """
    verified: Principal | None = request.scope["state"].get("principal")
    if verified is not None:
        return verified
    verifier: TokenVerifier = request.state.verifier
    principal = await verifier.verify(_bearer_token(request.headers.getlist("Authorization")))
    request.state.principal = principal
    bind_request_fields(subject=principal.subject)
    return principal


def _bearer_token(headers: list[str]) -> str:
    """The token of the one `Authorization: Bearer <token>` header (RFC 6750, section 2.1)."""
    if len(headers) > 1:
        raise TokenRejected(Reason.AMBIGUOUS)
    scheme, _, token = (headers[0] if headers else "").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRejected(Reason.MISSING)
    return token


class Permission:
    """A dependency that returns the principal if its token has `scope`.

    Unless `always`, the scope matters only with `AUTH_ENFORCE_SCOPES=true`. Expects `settings` and `metrics` on
    `request.state`.
    """

    def __init__(self, scope: Scope, *, always: bool = False) -> None:
        self._scope = scope
        self._always = always

    async def __call__(self, request: Request, _scheme: Annotated[object, Depends(_documented_scheme)]) -> Principal:
        """See `check`."""
        return await self.check(request)

    async def check(self, request: Request) -> Principal:
        """The principal, if its token is valid and has the scope.

        Raises:
            TokenRejected: 401.
            ScopeMissing: 403.
            KeysUnavailable: 503.
        """
        metrics: Metrics = request.state.metrics
        try:
            principal = await authenticate(request)
        except TokenRejected as error:
            metrics.auth.rejections.labels(error.reason).inc()
            raise
        settings: Settings = request.state.settings
        if (self._always or settings.auth_enforce_scopes) and self._scope not in principal.scopes:
            metrics.auth.rejections.labels("scope").inc()
            raise ScopeMissing(self._scope)
        return principal


Reader = Annotated[Principal, Security(Permission(Scope.READ), scopes=[Scope.READ])]
Writer = Annotated[Principal, Security(Permission(Scope.WRITE), scopes=[Scope.WRITE])]
Operator = Annotated[Principal, Security(Permission(Scope.ADMIN, always=True), scopes=[Scope.ADMIN])]
