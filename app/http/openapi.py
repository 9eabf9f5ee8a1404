"""The responses in the OpenAPI document; the examples are made from the errors that are raised."""

from collections.abc import Container, Iterable, Mapping
from enum import StrEnum
from itertools import count
from typing import Any

from starlette.exceptions import HTTPException

from app.config import Settings
from app.errors import PROBLEM_JSON, FieldError, PlainProblem, ProblemError, Unprocessable, phrase, problem_document
from app.http.body import BodyTooSlow, ContentTooLarge, UnsupportedMediaType

Responses = dict[int | str, dict[str, Any]]

REQUEST_ID_EXAMPLE = "0199a3c2-5f0e-7c41-9d35-6b1f0e8a7d24"
_DESCRIPTIONS = {
    400: "The cursor cannot be used here. `type` and `detail` say why and what to do.",
    401: "The bearer token is missing or not valid. `WWW-Authenticate` says why, as in RFC 6750.",
    403: "The token does not allow this. `WWW-Authenticate` names the scope that does.",
    404: "There is no resource with this id.",
    408: "The body came too slowly; the connection is closed.",
    409: "The resource is not in a state that allows this.",
    410: "The events after the cursor are not kept any more. `oldest_position` and `cursor` say where to continue.",
    412: "The resource has changed since the `ETag` that was sent as `If-Match`.",
    413: "The body is too large; the connection is closed.",
    415: "The body is not declared as JSON in UTF-8.",
    422: "The request is not valid. `errors` says where and why, and never repeats the input.",
    428: "The request has no `If-Match`.",
    429: "The subject of the token sends too many requests, or has too many under way. Try again after `Retry-After` "
    "seconds.",
    500: "A bug.",
    503: "The service cannot respond to this now. Try again after `Retry-After` seconds.",
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


def documented(
    status: int, description: str, *errors: ProblemError | HTTPException, headers: Mapping[str, Any] | None = None
) -> Responses:
    """OpenAPI `responses` of a route: its success, and the errors that it raises itself.

    `app.operations.document` adds the errors of every route with a token or a body, and the example of the success from
    its schema.
    """
    responses: Responses = {status: {"description": description, "headers": dict(headers or {})}}
    add_problems(responses, errors)
    return responses


def add_problems(responses: Responses, errors: Iterable[ProblemError | HTTPException]) -> None:
    """Add `errors` to `responses`, each as an example that is named after its kind."""
    for error in errors:
        problem = PlainProblem(error.status_code, error.detail) if isinstance(error, HTTPException) else error
        document = problem_document(problem, REQUEST_ID_EXAMPLE)
        status: int = document["status"]
        key = next((known for known in responses if str(known) == str(status)), status)
        response = responses.setdefault(key, _response(status, error.headers or {}))
        examples = response["content"][PROBLEM_JSON]["examples"]
        example = {"summary": document["detail"].replace("`", ""), "value": document}
        if example not in examples.values():
            examples[_free_name(document, examples)] = example


def location_header(what: str) -> dict[str, Any]:
    """The header `Location` of a response that created something."""
    return {
        "Location": {
            "description": f"Where the {what} is, relative to the URL of the request.",
            "schema": {"type": "string", "format": "uri-reference"},
        }
    }


def invalid(loc: list[str | int], msg: str, type_: str) -> Unprocessable:
    """A request that FastAPI refuses for one reason."""
    error = FieldError(loc=loc, msg=msg, type=type_)
    return Unprocessable("The request is not valid; `errors` says where and why.", errors=[error])


def not_one_of(loc: list[str | int], choices: type[StrEnum]) -> Unprocessable:
    """The refusal of a value that is none of `choices`, in pydantic's words."""
    *others, last = (f"'{choice}'" for choice in choices)
    return invalid(loc, f"Input should be {', '.join(others)} or {last}", "enum")


def body_problems(max_bytes: int) -> list[ProblemError | HTTPException]:
    """The errors of every route that reads a body of at most `max_bytes`."""
    not_json = "This is not JSON as the service reads it: Expecting value"
    return [
        invalid(["body", 0], not_json, "json_invalid"),
        BodyTooSlow(Settings.model_fields["body_timeout"].default),
        ContentTooLarge(max_bytes),
        UnsupportedMediaType(),
    ]


def _free_name(document: Mapping[str, Any], taken: Container[str]) -> str:
    """The last part of the problem's type, or its title, with a number unless it is the first of this name."""
    kind = document["title"] if document["type"] == "about:blank" else document["type"].rpartition(":")[2]
    name = kind.lower().replace(" ", "_").replace("-", "_")
    return next(one for number in count(1) if (one := name if number == 1 else f"{name}_{number}") not in taken)


def _response(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    schema = "ValidationProblem" if status == 422 else "Problem"
    return {
        "description": f"{phrase(status)}. {_DESCRIPTIONS[status]}",
        "headers": {name: header for name, header in _HEADERS.items() if name in headers},
        "content": {PROBLEM_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": {}}},
    }
