"""What the OpenAPI document says about the answers of the file routes."""

from app.auth.principal import Scope
from app.auth.responses import token_errors
from app.errors import NotFound
from app.events.examples import PROCESSED_EVENT
from app.files.schemas import VIEW_EXAMPLE
from app.http.pages import TooManyLargePages
from app.http.paging import LINK_HEADER
from app.http.responses import Responses, invalid, problems, success

_ERRORS = token_errors(Scope.READ) | {"unknown_file": NotFound("No event names this file.")}

FOUND: Responses = {200: success("The file.", VIEW_EXAMPLE), **problems(_ERRORS)}
HISTORY: Responses = {
    200: success("A page of the file's events, oldest first.", [PROCESSED_EVENT], LINK_HEADER),
    **problems(
        {"limit": invalid(["query", "limit"], "Input should be greater than or equal to 1", "greater_than_equal")}
        | {"large_pages": TooManyLargePages()}
        | _ERRORS
    ),
}
