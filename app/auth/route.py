"""The route class of every route that needs a token."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.auth.dependencies import Permission
from app.auth.rate_limit import RateLimited, RateLimiter
from app.config import Settings
from app.errors import FieldError, Unprocessable, unknown_parameter
from app.http.body import JsonRequest, require_json


class AuthenticatedRoute(APIRoute):
    """Checks the token, its permission and its rate before it reads a byte of the body, then reads it as strict JSON.

    Query parameters must be known, and come once unless they are a list. FastAPI's own body limit is not used: it
    answers before the token is checked, in plain text and without the request's id.
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
            request = self.json_request(received)
            for permission in permissions:
                await permission.check(request)
            limit_rate(request)
            check_query(request, parameters)
            if self.body_field is not None:
                require_json(request)
            try:
                return await handler(request)
            finally:
                request.release()

        return authenticated

    def permissions(self) -> list[Permission]:
        """What a caller needs."""
        return [part.call for part in self.dependant.dependencies if isinstance(part.call, Permission)]

    def json_request(self, request: Request) -> JsonRequest:
        """`request` with a body that is read as strict JSON, within the limits of the route."""
        state = request.state
        settings: Settings = state.settings
        return JsonRequest(
            request.scope,
            request.receive,
            max_bytes=self.max_body_bytes(settings),
            timeout_seconds=settings.body_timeout,
            budget=state.body_budget,
        )


def limit_rate(request: Request) -> None:
    """Refuse what its subject, known by now, sends beyond its rate.

    Raises:
        RateLimited: 429.
    """
    limiter: RateLimiter | None = request.state.rate_limiter
    if limiter is None:
        return
    wait_seconds = limiter.take(request.state.principal.subject)
    if wait_seconds is not None:
        request.state.metrics.http.rejected("rate")
        raise RateLimited(wait_seconds)


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """The query parameters of a route, those of query models included: their names, and whether they may repeat."""
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, part in model.model_fields.items():
                yield name, get_origin(part.annotation) is list
        else:
            yield field.alias, get_origin(model) is list
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


def check_query(request: Request, may_repeat: dict[str, bool]) -> None:
    """Refuse query parameters beside those of `may_repeat`, and those that come twice although they may not.

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
        raise Unprocessable("The query is not valid; `errors` says where and why.", errors=errors)
