"""Calls an endpoint with plain parameters, without FastAPI's solver of dependencies, which takes most of its time."""

import json
from collections.abc import Awaitable, Callable, Set
from inspect import iscoroutinefunction
from typing import Annotated, Any, NoReturn, get_type_hints

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Errors = list[dict[str, Any]]
_NOTHING: Any = object()
# What a function can take, by FastAPI's names, and what a route can ask of its answer.
_PARTS = (
    "path_params",
    "query_params",
    "header_params",
    "cookie_params",
    "body_params",
    "dependencies",
    "request_param_name",
    "websocket_param_name",
    "http_connection_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
)
_USUAL_ANSWER = {
    "response_model_include": None,
    "response_model_exclude": None,
    "response_model_by_alias": True,
    "response_model_exclude_unset": False,
    "response_model_exclude_defaults": False,
    "response_model_exclude_none": False,
}
Getter = Callable[[Request], Awaitable[Any]]


class DirectCall:
    """What FastAPI's handler does for a route of one shape, and for no other.

    The endpoint is a coroutine function that takes path parameters, one required body model, a response to put headers
    on (and nothing else), and dependencies. Of these each is in `known`, which maps a dependency to how its value is
    got, or is itself a coroutine function that takes the request and optional headers alone. What the endpoint returns
    is what it declares, and is not validated again. An exception while the body is read is no 400.

    Raises:
        TypeError: when the route has another shape.
    """

    def __init__(self, route: APIRoute, known: dict[Callable[..., Any], Getter]) -> None:
        dependant = route.dependant
        _check_route(route)
        self._endpoint: Callable[..., Awaitable[Any]] = route.endpoint
        self._status_code = route.status_code or 200
        answer_type: Any = route.response_model
        self._answer: TypeAdapter[Any] = TypeAdapter(answer_type)
        self._path = [_Parameter(field, "path") for field in dependant.path_params]
        self._body = [(field.name, _adapter(field.field_info)) for field in dependant.body_params]
        self._response_name = dependant.response_param_name
        self._dependencies = [
            (part.name or "", known[part.call] if part.call in known else _Dependency(part, route.path))
            for part in dependant.dependencies
            if part.call is not None
        ]

    async def __call__(self, request: Request) -> Response:
        """Answer `request`.

        Raises:
            RequestValidationError: with what is wrong in any part of it.
        """
        errors: Errors = []
        body = await _read(request) if self._body else _NOTHING
        values: dict[str, Any] = {}
        for name, get in self._dependencies:
            try:
                values[name] = await get(request)
            except RequestValidationError as error:
                errors += error.errors()
        for parameter in self._path:
            values[parameter.name] = parameter.read(request.path_params, errors)
        for name, model in self._body:
            values[name] = _validated(model, body, ("body",), errors)
        body = _NOTHING  # its tree can be much larger than what is made of it, and has no use while the endpoint waits
        if errors:
            raise RequestValidationError(errors)
        extra = Response()
        if self._response_name:
            values[self._response_name] = extra
        answer = await self._endpoint(**values)
        response = Response(self._answer.dump_json(answer), self._status_code, media_type="application/json")
        response.raw_headers += [header for header in extra.raw_headers if header[0] != b"content-length"]
        return response


class _Parameter:
    """A path parameter or a header."""

    def __init__(self, field: Any, place: str) -> None:
        self.name: str = field.name
        self._alias: str = field.alias
        self._location = (place, field.alias)
        self._default = field.default
        self._type = _adapter(field.field_info)

    def read(self, source: Any, errors: Errors) -> Any:
        """The value in `source`; what is wrong with it goes to `errors`."""
        value = source.get(self._alias)
        return self._default if value is None else _validated(self._type, value, self._location, errors)


class _Dependency:
    """A dependency that takes the request, and headers."""

    def __init__(self, dependant: Dependant, path: str) -> None:
        _check_parts(dependant, path, {"header_params", "request_param_name"})
        if any(field.field_info.is_required() for field in dependant.header_params):
            raise TypeError(f"{path}: {dependant.name} needs a header")
        call: Any = dependant.call
        self._call = call
        self._request_name = dependant.request_param_name
        self._headers = [_Parameter(field, "header") for field in dependant.header_params]

    async def __call__(self, request: Request) -> Any:
        errors: Errors = []
        values = {header.name: header.read(request.headers, errors) for header in self._headers}
        if errors:
            raise RequestValidationError(errors)
        if self._request_name:
            values[self._request_name] = request
        return await self._call(**values)


def _adapter(info: FieldInfo) -> TypeAdapter[Any]:
    """As FastAPI has it: the information holds constraints too."""
    annotated: Any = Annotated[info.annotation, info]
    return TypeAdapter(annotated)


def _check_route(route: APIRoute) -> None:
    """Refuse what FastAPI would do for the route and a direct call does not."""
    dependant = route.dependant
    _check_parts(dependant, route.path, {"path_params", "body_params", "dependencies", "response_param_name"})
    bodies = [field.field_info for field in dependant.body_params]
    if len(bodies) > 1 or any(getattr(body, "embed", None) or not body.is_required() for body in bodies):
        raise TypeError(f"{route.path}: a direct call takes one body, which is required")
    if any(part.name is None for part in dependant.dependencies):
        raise TypeError(f"{route.path}: the route has dependencies beside those of its endpoint")
    changed = [name for name, usual in _USUAL_ANSWER.items() if getattr(route, name) != usual]
    declared = get_type_hints(route.endpoint).get("return")
    if changed or route.response_model != declared or route.status_code in {204, 205, 304}:
        raise TypeError(f"{route.path}: the answer is not the plain model that the endpoint returns")


def _check_parts(dependant: Dependant, path: str, allowed: Set[str]) -> None:
    """Refuse a function that is no coroutine function, or takes anything beside what is `allowed`."""
    if not iscoroutinefunction(dependant.call):
        raise TypeError(f"{path}: {dependant.name or 'the endpoint'} is no coroutine function")
    if other := [part for part in _PARTS if part not in allowed and getattr(dependant, part)]:
        raise TypeError(f"{path}: {dependant.name or 'the endpoint'} takes what a direct call does not give: {other}")


async def _read(request: Request) -> Any:
    """The body as JSON, or `_NOTHING`."""
    try:
        return await request.json() if await request.body() else _NOTHING
    except json.JSONDecodeError as error:
        _refuse_json(error)


def _refuse_json(error: json.JSONDecodeError) -> NoReturn:
    detail = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "input": {}, "ctx": {"error": error.msg}}
    raise RequestValidationError([detail]) from error


def _validated(model: TypeAdapter[Any], value: Any, location: tuple[str, ...], errors: Errors) -> Any:
    if value is _NOTHING:
        errors.append({"type": "missing", "loc": location, "msg": "Field required", "input": None})
        return None
    try:
        return model.validate_python(value, from_attributes=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        errors += [{**item, "loc": (*location, *item["loc"])} for item in found]
        return None
