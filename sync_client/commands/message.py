"""Reads a received message, and refuses messages that are not from the service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, TypeAdapter, ValidationError, field_validator

from sync_client.errors import SignatureRefused
from sync_client.models import EventType
from sync_client.webhooks import ID_HEADER, verify_signature

FILE_TYPES = frozenset(f"sync.file.{one}" for one in get_args(EventType))
PING_TYPE = "sync.ping"


def _is_file_type(name: str) -> str:
    if name not in FILE_TYPES:
        raise ValueError("unknown")
    return name


class MessageRefused(Exception):
    """The request gets this `status`; the text has the reason."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class FileEvent(BaseModel):
    """The parts of the event that a line shows."""

    position: int
    file_id: UUID
    event_type: str
    created_at: AwareDatetime
    metadata: dict[str, Any] | None = None
    anomaly: None = None  # is found later, when the event is processed


class Ping(BaseModel):
    """A message that contains no event."""

    subscription_id: UUID


class _FileMessage(BaseModel):
    specversion: Literal["1.0"]
    id: str
    type: Annotated[str, AfterValidator(_is_file_type)]
    data: FileEvent


class _PingMessage(BaseModel):
    specversion: Literal["1.0"]
    id: str
    type: Literal["sync.ping"]
    data: Ping


class OtherMessage(BaseModel):
    """A message of a type that this version does not know."""

    specversion: Literal["1.0"]
    id: str
    type: str

    @field_validator("type")
    @classmethod
    def _is_unknown(cls, name: str) -> str:
        if name in (*FILE_TYPES, PING_TYPE):
            raise ValueError("known, so that its data has to fit")
        return name


Content = FileEvent | Ping | OtherMessage

_MESSAGES: TypeAdapter[_FileMessage | _PingMessage | OtherMessage] = TypeAdapter(
    _FileMessage | _PingMessage | OtherMessage
)


def read_message(headers: Mapping[str, str], body: bytes, secret: str | None) -> Content:
    """The content of a message; without a `secret` its sender is not verified. `headers` have lower-case names.

    Raises:
        MessageRefused: 401 when it is not signed with `secret` now, 400 when it is not a message of the service.
    """
    if secret is not None:
        try:
            verify_signature(headers, body, secret)
        except SignatureRefused as refusal:
            raise MessageRefused(HTTPStatus.UNAUTHORIZED, str(refusal)) from None
    try:
        message = _MESSAGES.validate_json(body)
    except ValidationError:
        raise MessageRefused(HTTPStatus.BAD_REQUEST, "the body is no CloudEvent of the service") from None
    if headers.get(ID_HEADER) != message.id:
        raise MessageRefused(HTTPStatus.BAD_REQUEST, f"{ID_HEADER} is not the id of the event")
    return message if isinstance(message, OtherMessage) else message.data
