"""The response to bytes that never become a request of the application."""

import json

import structlog
from uuid_utils.compat import uuid7

from app.errors import PROBLEM_JSON, phrase, problem_document

log = structlog.get_logger("app.access")

_REASONS = {400: "not_http", 408: "slow_headers", 431: "large_headers", 501: "not_http"}


class Refusal(Exception):
    """A connection ends because of what its client sent. A refusal has a request id and a log line of its own.

    `reason` is its label in the metrics.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = _REASONS[status]
        self.request_id = str(uuid7())

    def log(self) -> None:
        """Write the log line."""
        log.info("request refused", status=self.status, reason=str(self), request_id=self.request_id)

    def render(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The whole response as HTTP/1.1, with these `headers` and its own."""
        body = json.dumps(problem_document(self.status, str(self), request_id=self.request_id)).encode()
        own = {
            "Content-Type": PROBLEM_JSON,
            "Content-Length": str(len(body)),
            "X-Request-ID": self.request_id,
            "Connection": "close",
        }
        return b"".join(
            (
                f"HTTP/1.1 {self.status} {phrase(self.status)}\r\n".encode(),
                *(b"%b: %b\r\n" % header for header in headers),
                *(f"{name}: {value}\r\n".encode() for name, value in own.items()),
                b"\r\n",
                body,
            )
        )
