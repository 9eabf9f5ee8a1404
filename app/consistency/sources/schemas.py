"""Sources as JSON."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, StringConstraints

from app.consistency.models import MAX_GRACE, Source
from app.consistency.sources.request import InventoryPage, SourceError
from app.http.types import Input, examples, number_not_text
from app.outbound.client import AttemptResponse
from app.outbound.endpoint import EndpointUrl, HeaderChanges, Headers

DEFAULT_GRACE_SECONDS = 300
SOURCE_ID = "019376b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"  # in the documentation
_NAMED: dict[str, JsonValue] = {
    "name": "metadata service",
    "kind": "contract",
    "url": "https://metadata.example.com",
}
_NEW: dict[str, JsonValue] = {**_NAMED, "headers": {"Authorization": "Bearer 4f1c9a"}}
_SOURCE: dict[str, JsonValue] = {
    "id": SOURCE_ID,
    **_NAMED,
    "header_names": ["Authorization"],
    "grace_seconds": 300,
    "enabled": True,
    "created_at": "2026-01-15T10:30:00Z",
}
_TEST: dict[str, JsonValue] = {
    "ok": True,
    "status_code": 200,
    "duration_ms": 12,
    "error": None,
    "total": 1200,
    "watermark": 4711,
    "response": '{"items": [], "next": null, "total": 1200, "watermark": 4711}',
}
_MAX_GRACE_SECONDS = int(MAX_GRACE.total_seconds())


class SourceKind(StrEnum):
    """The protocol of a source."""

    CONTRACT = "contract"
    CLOUD = "cloud"  # named by the settings


Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Grace = Annotated[int, Field(ge=0, le=_MAX_GRACE_SECONDS), BeforeValidator(number_not_text)]


class NewSource(Input):
    """A service to compare with."""

    model_config = examples(_NEW)

    name: Name = Field(description="For people.")
    kind: Literal["contract"] = Field(description="How it is asked: `contract`, by the inventory contract.")
    url: EndpointUrl = Field(
        description="Base URL: the service asks `{url}/inventory`. Guarded like the URLs of subscriptions; no query."
    )
    headers: Headers = Field(
        {}, description="Sent with every request, e.g. `Authorization`. Stored encrypted and never returned."
    )
    grace_seconds: Grace = Field(
        DEFAULT_GRACE_SECONDS, description="Time that the source may take to follow; a difference lasts longer."
    )
    enabled: bool = Field(True, strict=True, description="Whether it is asked.")


class SourceChange(Input):
    """A change; absent members stay as they are."""

    model_config = examples({"grace_seconds": 600})

    name: Name = Field(default_factory=str, description="For people.")
    url: EndpointUrl = Field(default_factory=str, description="Base URL.")
    headers: HeaderChanges | None = Field(
        None, description="A value sets a header, null removes it, others stay. Null instead of the object removes all."
    )
    grace_seconds: Grace = Field(default_factory=int, description="Time that the source may take to follow.")
    enabled: bool = Field(default_factory=bool, strict=True, description="Whether it is asked.")


class SourceView(BaseModel):
    """A source."""

    model_config = examples(_SOURCE)

    id: UUID
    name: str
    kind: str
    url: str
    header_names: list[str] | None = Field(description="Null when the present keys cannot decrypt the headers.")
    grace_seconds: int
    enabled: bool
    created_at: datetime

    @classmethod
    def of(cls, source: Source, header_names: Sequence[str] | None) -> Self:
        """The view of a stored source."""
        fields = {name: getattr(source, name) for name in cls.model_fields if name != "header_names"}
        return cls.model_validate({**fields, "header_names": header_names})


class SourceTest(BaseModel):
    """The response of a source to the question for one item."""

    model_config = examples(_TEST)

    ok: bool = Field(description="Whether the response keeps to the contract.")
    status_code: int | None
    duration_ms: int
    error: str | None = Field(description="The failure, or the breach of the contract.")
    total: int | None
    watermark: int | None
    response: str = Field(description="The first KiB of the body.")

    @classmethod
    def of(cls, response: AttemptResponse, page: InventoryPage | None = None, error: SourceError | None = None) -> Self:
        """The result from the last response, the page in it, and the fault."""
        return cls(
            ok=error is None,
            status_code=response.status_code,
            duration_ms=round(response.duration_seconds * 1000),
            error=None if error is None else f"The source {error}.",
            total=page.total if page else None,
            watermark=page.watermark if page else None,
            response=response.body,
        )
