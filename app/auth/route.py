"""The route class of every route that needs a token."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.auth.dependencies import Permission
from app.config import Settings
from app.errors import FieldError, Unprocessable
from app.http.body import JsonRequest, require_json


class AuthenticatedRoute(APIRoute):
    """Checks the token and its permission before it reads a byte of the body, then reads the body as strict JSON.

    Query parameters must be known and come once. FastAPI's own body limit is not used: it answers before the token is
    checked, in plain text and without the request's id.
    """

    def max_body_bytes(self, settings: Settings) -> int:
        """The largest body that the route reads."""
        return settings.max_event_bytes

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler; the extension point is documented as "custom Request and APIRoute class"."""
        handler = super().get_route_handler()
        permissions = [part.call for part in self.dependant.dependencies if isinstance(part.call, Permission)]
        parameters = frozenset(_query_parameters(self.dependant))

        async def authenticated(request: Request) -> Response:
            for permission in permissions:
                await permission.check(request)
            _check_query(request, parameters)
            if self.body_field is not None:
                require_json(request)
            settings: Settings = request.state.settings
            json_request = JsonRequest(
                request.scope,
                request.receive,
                max_bytes=self.max_body_bytes(settings),
                timeout_seconds=settings.body_timeout,
            )
            return await handler(json_request)

        return authenticated


class BatchRoute(AuthenticatedRoute):
    """A route that takes many events at once."""

    def max_body_bytes(self, settings: Settings) -> int:
        """The largest body that the route reads."""
        return settings.max_batch_bytes


def _query_parameters(dependant: Dependant) -> Iterator[str]:
    """The names of the query parameters of a route, those of query models included."""
    for field in dependant.query_params:
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from model.model_fields
        else:
            yield field.alias
    for part in dependant.dependencies:
        yield from _query_parameters(part)


def _check_query(request: Request, known: frozenset[str]) -> None:
    errors = [
        FieldError(loc=["query", name], msg="Send this parameter once", type="parameter_repeated")
        if name in known
        else FieldError(loc=["query"], msg="There is no such parameter", type="extra_forbidden")
        for name, count in Counter(name for name, _ in request.query_params.multi_items()).items()
        if name not in known or count > 1
    ]
    if errors:
        raise Unprocessable("The query is not valid; `errors` says where and why.", errors=errors[:10])
