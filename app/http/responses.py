"""What routes can answer, for the OpenAPI document: its examples are made of the very errors that are raised."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from starlette.exceptions import HTTPException

from app.config import Settings
from app.errors import PROBLEM_JSON, FieldError, ProblemError, Unprocessable, phrase, problem_document
from app.http.body import BodyTooSlow, ContentTooLarge, UnsupportedMediaType

Errors = dict[str, ProblemError | HTTPException]
Responses = dict[int | str, dict[str, Any]]

REQUEST_ID_EXAMPLE = "0199a3c2-5f0e-7c41-9d35-6b1f0e8a7d24"
_DESCRIPTIONS = {
    400: "The cursor can not be used here. `type` and `detail` say why and what to do.",
    401: "The bearer token is missing or not valid. `WWW-Authenticate` says why, as in RFC 6750.",
    403: "The token does not allow this. `WWW-Authenticate` names the scope that does.",
    404: "There is nothing by this id.",
    408: "The body came too slowly; the connection is closed.",
    409: "It is not in a state that allows this.",
    410: "What comes after the cursor is not kept any more. `oldest_position` and `cursor` tell where to go on.",
    412: "It was changed since the `ETag` that was sent as `If-Match`.",
    413: "The body is too large; the connection is closed.",
    415: "The body is not declared as JSON in UTF-8.",
    422: "The request is not valid. `errors` says where and why, and never repeats the input.",
    429: "The subject of the token sends too many requests. Try again after `Retry-After` seconds.",
    500: "A bug.",
    503: "The service can not answer this now. Try again after `Retry-After` seconds.",
}
RETRY_AFTER_HEADER: dict[str, Any] = {
    "Retry-After": {
        "description": "Seconds to wait before the next attempt (RFC 9110, section 10.2.3).",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_HEADERS: dict[str, Any] = {
    "WWW-Authenticate": {
        "description": "Why the token was refused, or which scope is needed (RFC 6750, section 3).",
        "schema": {"type": "string"},
    },
    **RETRY_AFTER_HEADER,
}


def problems(errors: Errors) -> Responses:
    """OpenAPI `responses` of a route that raises `errors`; each becomes the example of its name."""
    responses: dict[int, dict[str, Any]] = {}
    for name, error in errors.items():
        document = _document(error)
        status: int = document["status"]
        response = responses.setdefault(status, _response(status, error.headers or {}))
        response["content"][PROBLEM_JSON]["examples"][name] = {
            "summary": document["detail"].replace("`", ""),
            "value": document,
        }
    return {status: responses[status] for status in sorted(responses)}


def success(description: str, example: Any, headers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An OpenAPI response but for its schema, which FastAPI adds."""
    return {
        "description": description,
        "headers": dict(headers or {}),
        "content": {"application/json": {"example": example}},
    }


def invalid(loc: list[str | int], msg: str, type_: str) -> Unprocessable:
    """FastAPI's own refusal of one thing in the input."""
    error = FieldError(loc=loc, msg=msg, type=type_)
    return Unprocessable("The request is not valid; `errors` says where and why.", errors=[error])


def not_one_of(loc: list[str | int], choices: type[StrEnum]) -> Unprocessable:
    """The refusal of a value that is none of `choices`, in pydantic's words."""
    *others, last = (f"'{choice}'" for choice in choices)
    return invalid(loc, f"Input should be {', '.join(others)} or {last}", "enum")


def body_errors(max_bytes: int) -> Errors:
    """What every route can raise that reads a body of at most `max_bytes`."""
    not_json = "This is not JSON as the service reads it: Expecting value"
    return {
        "not_json": invalid(["body", 0], not_json, "json_invalid"),
        "slow": BodyTooSlow(Settings.model_fields["body_timeout"].default),
        "large": ContentTooLarge(max_bytes),
        "media_type": UnsupportedMediaType(),
    }


def _response(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    schema = "ValidationProblem" if status == 422 else "Problem"
    return {
        "description": f"{phrase(status)}. {_DESCRIPTIONS[status]}",
        "headers": {name: header for name, header in _HEADERS.items() if name in headers},
        "content": {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": {}}},
    }


def _document(error: ProblemError | HTTPException) -> dict[str, Any]:
    if isinstance(error, HTTPException):
        return problem_document(error.status_code, error.detail, request_id=REQUEST_ID_EXAMPLE)
    return problem_document(
        error.status,
        str(error),
        code=error.code,
        request_id=REQUEST_ID_EXAMPLE,
        errors=error.errors,
        members=error.members,
    )
