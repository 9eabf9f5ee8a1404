"""The route class of every route that needs a token: its permission, its rate, and the errors that it can raise."""

import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Receive
from starlette.types import Scope as RequestScope

from app.auth.dependencies import Permission
from app.auth.token import KeysUnavailable, Reason, Scope, ScopeMissing, TokenRejected
from app.concurrency.fair_semaphore import ConcurrencyLimited
from app.concurrency.rate_limit import RateLimiter
from app.config import Settings
from app.database.errors import DatabaseUnavailable
from app.errors import FieldError, ProblemError, Unprocessable, unknown_parameter
from app.http.body import JsonRequest, require_json
from app.http.middleware import OpenRequest, TooManyUnderWay

INVALID_QUERY = "The query is not valid; `errors` says where and why."


class RateLimited(ProblemError):
    """429; a request succeeds again after `Retry-After` seconds."""

    status, code, detail = 429, "rate-limited", "Too many requests with tokens of this subject; slow down."

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(headers={"Retry-After": str(math.ceil(wait_seconds))})


class AuthenticatedRoute(APIRoute):
    """Checks the token, its permission and its rate before it reads a byte of the body, then reads it as strict JSON.

    Query parameters must be known, and come once unless they are a list. FastAPI's own body limit is not used: it
    responds before the token is checked, in plain text and without the request's id.
    """

    def max_body_bytes(self, settings: Settings) -> int:
        """The largest body that the route reads."""
        return settings.max_event_bytes

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler; the extension point is documented as "custom Request and APIRoute class"."""
        handler = super().get_route_handler()
        permissions = self.permissions()
        parameters = dict(_query_parameters(self.dependant))

        async def authenticated(received: Request) -> Response:
            request = self.json_request(received.scope, received.receive)
            for permission in permissions:
                await permission.check(request)
            limit_rate(request)
            check_query(request, parameters)
            try:
                await self._read_body(request)
                return await handler(request)
            finally:
                request.release()

        return authenticated

    async def _read_body(self, request: JsonRequest) -> None:
        """Read the body, declared as JSON; where the route can do without one, an empty one need not be declared."""
        if self.body_field is None:
            return
        if self.body_field.field_info.is_required():
            require_json(request)
        if await request.body():
            require_json(request)

    def permissions(self) -> list[Permission]:
        return [part.call for part in self.dependant.dependencies if isinstance(part.call, Permission)]

    def json_request(self, scope: RequestScope, receive: Receive) -> JsonRequest:
        """The request, with a body that is read as strict JSON, within the limits of the route."""
        state = scope["state"]
        settings: Settings = state["settings"]
        open_request: OpenRequest = state["open_request"]
        return JsonRequest(
            scope,
            receive,
            max_bytes=self.max_body_bytes(settings),
            timeout_seconds=settings.body_timeout,
            has_arrived=open_request.has_arrived,
            large_bodies=state["large_bodies"],
        )


class LargeBodyRoute(AuthenticatedRoute):
    """A route that takes many events or ids in one request."""

    def max_body_bytes(self, settings: Settings) -> int:
        """The largest body that the route reads."""
        return settings.max_batch_bytes


def limit_rate(request: Request) -> None:
    """Refuse a request beyond the rate of its subject, or beyond its share of those under way.

    The token must be verified already.

    Raises:
        RateLimited, ConcurrencyLimited: 429.
    """
    state = request.state
    subject: str = state.principal.subject
    state.open_request.belong_to(subject)
    limiter: RateLimiter | None = state.rate_limiter
    if limiter is None:
        return
    wait_seconds = limiter.take(subject)
    if wait_seconds is not None:
        state.metrics.http.rejected("rate")
        raise RateLimited(wait_seconds)


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """The query parameters of a route, including the fields of query models: the name, and whether it may repeat."""
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, part in model.model_fields.items():
                yield part.alias or name, get_origin(part.annotation) is list
        else:
            yield field.alias, get_origin(model) is list
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


def check_query(request: Request, may_repeat: dict[str, bool]) -> None:
    """Refuse unknown query parameters, and repeated ones where `may_repeat[name]` is False.

    Raises:
        Unprocessable: 422.
    """
    if not request.scope["query_string"]:
        return
    counts = Counter(name for name, _ in request.query_params.multi_items())
    errors = [
        FieldError(loc=["query", name], msg="Send this parameter once", type="parameter_repeated")
        for name, count in counts.items()
        if count > 1 and not may_repeat.get(name, True)
    ]
    if counts.keys() - may_repeat.keys():
        errors.append(unknown_parameter(may_repeat))
    if errors:
        raise Unprocessable(INVALID_QUERY, errors=errors)


def token_problems(scope: Scope) -> list[ProblemError]:
    """The errors of every route that needs a token with `scope`, for the OpenAPI document."""
    unknown = unknown_parameter([])
    return [
        TokenRejected(Reason.MISSING),
        TokenRejected(Reason.EXPIRED),
        TokenRejected(Reason.SIGNATURE),
        ScopeMissing(scope),
        Unprocessable(INVALID_QUERY, errors=[unknown]),
        RateLimited(wait_seconds=1),
        ConcurrencyLimited("connections to the database"),
        TooManyUnderWay(),
        DatabaseUnavailable(),
        KeysUnavailable(),
    ]
