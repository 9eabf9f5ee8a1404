"""Errors as RFC 9457 problem details, rendered by one set of handlers."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from app.log.request_line import bind_request_fields

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:sync-service:problem:"
MAX_FIELD_ERRORS = 100
MAX_ERROR_CHARACTERS = 500
NOTHING_DETAIL = "There is nothing at this path. The ids of events, files and subscriptions are UUIDs."
BUG_DETAIL = "An unexpected error; the log has it under this request id."

_HARMLESS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class StartupRefused(Exception):
    """The service will not start as things are; the message says in one line why, and what to do."""


class FieldError(BaseModel):
    """One thing wrong with the input: where (`loc`), what (`msg`) and its kind (`type`); never the input itself."""

    loc: list[str | int]
    msg: str
    type: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": True})

    type: str = Field(
        description="A URI reference that names the kind of problem; `about:blank` when the status explains all."
    )
    title: str
    status: int
    detail: str
    instance: str = Field(
        description="`urn:request:` and the `X-Request-ID` of the request, as its log lines carry it."
    )
    docs: str = Field(
        default="",
        description="A page that explains the kind of problem, relative to the URL of the request; absent beside "
        "`about:blank`.",
        json_schema_extra={"format": "uri-reference"},
    )


class ValidationProblem(Problem):
    """Problem details of a request that could not be understood."""

    errors: list[FieldError]


class ProblemError(Exception):
    """An error that knows its HTTP response. Subclasses set the class attributes."""

    status: int = 500
    code: ClassVar[str] = ""
    detail: ClassVar[str] = ""
    reason: str | None = None  # the log's detail beyond the code

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        errors: list[FieldError] | None = None,
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or self.detail)
        self.headers = headers or {}
        self.errors = errors
        self.members = members or {}  # extension members of the document (RFC 9457, section 3.2)


class PlainProblem(ProblemError):
    """A problem that its status explains."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail, headers=headers)
        self.status = status


class NotFound(ProblemError):
    status, code, detail = 404, "not-found", "There is no such resource."


class Conflict(ProblemError):
    status, code, detail = 409, "conflict", "The resource is not in a state that allows this."


class OtherCount(Conflict):
    """409: a filter matches `found`, which is not the number that the request expects; nothing is done."""

    code = "other-count"

    def __init__(self, found: str) -> None:
        super().__init__(f"The filter matches {found}; nothing was done.")


class Unprocessable(ProblemError):
    """422 that is about the meaning of the request; unless `errors` say more, it is about the request as a whole."""

    status, code = 422, "invalid-request"

    def __init__(self, detail: str | None = None, *, errors: list[FieldError] | None = None) -> None:
        whole = FieldError(loc=[], msg=detail or self.detail, type=self.code.replace("-", "_"))
        super().__init__(detail, errors=errors or [whole])


class Unavailable(ProblemError):
    """503; the same request may succeed after `Retry-After` seconds."""

    status, code, detail = 503, "unavailable", "The service cannot respond to this now; try again."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})


def phrase(status: int) -> str:
    """The name of `status` in RFC 9110; Python before 3.13 has older names for two, and none has nginx's 499."""
    newer = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}
    return newer.get(status) or HTTPStatus(status).phrase


def describe(error: BaseException) -> str:
    """`Type: message`, the message's first line if it has one, in at most 500 printable characters."""
    text = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return "".join(c if c.isprintable() else " " for c in text)[:MAX_ERROR_CHARACTERS]


def problem_document(error: ProblemError, request_id: str, root: str = "") -> dict[str, Any]:
    """Problem details as JSON; without a `code`, the status explains it. `root` leads to the root of the service."""
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code if error.code else "about:blank",
        "title": phrase(error.status),
        "status": error.status,
        "detail": str(error),
        "instance": f"urn:request:{request_id}",
        **({"docs": f"{root}problems/{error.code}"} if error.code else {}),
        **error.members,
    }
    if error.errors is not None:
        content["errors"] = [one.model_dump() for one in error.errors]
    return content


def problem_response(request: Request, error: ProblemError) -> JSONResponse:
    request_id = getattr(request.state, "request_id", "unknown")
    content = problem_document(error, request_id, root=_path_to_root(request.scope))
    return JSONResponse(content, error.status, error.headers, media_type=PROBLEM_JSON)


def _path_to_root(scope: Scope) -> str:
    """From the URL of the request to the root of the service, whatever prefix a proxy has stripped (RFC 3986, 5.2).

    A prefix that is still in the path is `root_path`.
    """
    path: str = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
    return "../" * (path.removeprefix(scope.get("root_path", "")).count("/") - 1)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)  # noqa: S101 - the handler is registered for this class alone
    reason = error.reason
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        reason = describe(error.__cause__ or error)
    # For the one log line of the request.
    bind_request_fields(problem=error.code, **({"reason": str(reason)} if reason else {}))
    return problem_response(request, error)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    nothing = error.status_code == HTTPStatus.NOT_FOUND  # our own routes raise `NotFound`
    detail = NOTHING_DETAIL if nothing else error.detail or phrase(error.status_code)
    return problem_response(request, PlainProblem(error.status_code, detail, headers))


def _allowed_methods(request: Request) -> list[str]:
    """Every method that some route takes at this path; the router knows only those of the first route."""

    def is_taken(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in _METHODS if is_taken(method)]


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    bind_request_fields(problem="invalid-request")
    items = error.errors()
    some = "" if len(items) <= MAX_FIELD_ERRORS else f" first, of {len(items)} errors"
    errors = [_field_error(item) for item in items[:MAX_FIELD_ERRORS]]
    detail = f"The request is not valid; `errors` says where and why{some}."
    return problem_response(request, Unprocessable(detail, errors=errors))


def _field_error(item: dict[str, Any]) -> FieldError:
    loc, message = list(item["loc"]), item["msg"]
    if item["type"] == "extra_forbidden" and not is_harmless_name(loc[-1]):
        loc[-1] = "(unknown field)"
    if item["type"] == "json_invalid":
        message = f"This is not JSON as the service reads it: {item['ctx']['error'].rstrip(': ')}"
    return FieldError(loc=loc, msg=message, type=item["type"])


def is_harmless_name(name: object) -> bool:
    """Whether a response may repeat the name of an unknown field: an ASCII identifier of at most 64 characters."""
    return isinstance(name, str) and _HARMLESS_NAME.fullmatch(name) is not None


def unknown_parameter(known: Iterable[str]) -> FieldError:
    """A query has parameters beside the `known` ones; the error names only the known ones: others are input."""
    names = ", ".join(sorted(known))
    there = f"there are: {names}" if names else "there is none here"
    return FieldError(loc=["query", "(unknown parameter)"], msg=f"Unknown parameter; {there}", type="extra_forbidden")


def bug_response(request: Request) -> JSONResponse:
    return problem_response(request, ProblemError(BUG_DETAIL))


async def _on_bug(request: Request, _error: Exception) -> JSONResponse:
    return bug_response(request)


def add_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_bug)
