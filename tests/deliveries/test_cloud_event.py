"""The body of a delivery, by the rules of CloudEvents 1.0 and its JSON format."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, AwareDatetime, BaseModel, ConfigDict, StringConstraints, model_validator

from app.deliveries.message import CONTENT_TYPE, event_body, ping_body

LEDGER = UUID("01980000-0000-7000-8000-00000000000a")
AT = datetime(2026, 1, 15, 10, 30, 0, 123456, tzinfo=UTC)


class Row(NamedTuple):
    """An event as the ledger's queries return it."""

    id: UUID = UUID("01980000-0000-7000-8000-000000000001")
    position: int = 42
    file_id: UUID = UUID("01980000-0000-7000-8000-00000000000f")
    event_type: str = "upload"
    created_at: datetime = AT
    created_by: str = "chunker@clients"
    event_metadata: dict[str, Any] | None = None


NotEmpty = Annotated[str, StringConstraints(min_length=1)]


class Structured(BaseModel):
    """The constraints of the specification's sections 3 to 3.1.2, and those of the JSON format's section 3."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: NotEmpty
    source: AnyUrl
    type: NotEmpty
    subject: NotEmpty
    time: AwareDatetime
    datacontenttype: Literal["application/json"]
    data: dict[str, Any]

    @model_validator(mode="after")
    def _extensions_have_their_names_and_types(self) -> "Structured":
        for name, value in (self.model_extra or {}).items():
            assert re.fullmatch(r"[a-z0-9]{1,20}", name)
            assert isinstance(value, str)
            assert value
        return self


def read(body: bytes) -> dict[str, Any]:
    """The document, once it is found to be a CloudEvent."""
    Structured.model_validate_json(body)
    document: dict[str, Any] = json.loads(body)
    return document


def test_an_event_is_told_in_full() -> None:
    row = Row(event_metadata={"path": "/ü", "size": 2**70, "tags": [1.5, None, True]})
    assert read(event_body(row, LEDGER)) == {
        "specversion": "1.0",
        "id": str(row.id),
        "source": f"urn:uuid:{LEDGER}",
        "type": "sync.file.upload",
        "subject": str(row.file_id),
        "time": "2026-01-15T10:30:00.123456Z",
        "datacontenttype": "application/json",
        "sequence": "0000000000000000042",
        "data": {
            "event_id": str(row.id),
            "position": 42,
            "file_id": str(row.file_id),
            "event_type": "upload",
            "created_at": "2026-01-15T10:30:00.123456Z",
            "created_by": "chunker@clients",
            "metadata": {"path": "/ü", "size": 2**70, "tags": [1.5, None, True]},
        },
    }


@pytest.mark.parametrize("event_type", ["upload", "update", "delete"])
def test_the_type_says_what_happened(event_type: str) -> None:
    assert read(event_body(Row(event_type=event_type), LEDGER))["type"] == f"sync.file.{event_type}"


def test_an_event_without_metadata_says_so() -> None:
    assert read(event_body(Row(), LEDGER))["data"]["metadata"] is None


def test_the_body_is_the_same_each_time() -> None:
    row = Row(event_metadata={"b": 1, "a": {"d": 2, "c": 3}})
    assert len({event_body(row, LEDGER) for _ in range(10)}) == 1


@given(st.integers(1, 2**63 - 1), st.integers(1, 2**63 - 1))
def test_sequences_are_in_order_as_texts(one: int, other: int) -> None:
    first, second = (json.loads(event_body(Row(position=position), LEDGER))["sequence"] for position in (one, other))
    assert (first < second) == (one < other)
    assert int(first) == one


def test_a_ping_tells_of_no_event() -> None:
    message, subscription = UUID(int=1), UUID(int=2)
    document = read(ping_body(message, LEDGER, subscription, AT))
    assert (document["id"], document["type"], document["subject"]) == (str(message), "sync.ping", str(subscription))
    assert document["data"] == {"subscription_id": str(subscription)}
    assert "sequence" not in document


def test_the_media_type_is_that_of_the_structured_mode() -> None:
    assert CONTENT_TYPE == "application/cloudevents+json; charset=utf-8"
