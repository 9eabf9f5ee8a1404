"""The route class of every route that needs a token."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.auth.dependencies import authenticate
from app.http.strict_json import StrictRequest, require_json


class AuthenticatedRoute(APIRoute):
    """Checks the token before it reads a byte of the body, then reads the body as strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler; the extension point is documented as "custom Request and APIRoute class"."""
        handler = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            await authenticate(request)
            if self.body_field is not None:
                require_json(request)
            return await handler(StrictRequest(request.scope, request.receive))

        return authenticated
