"""What lists the event types and the anomalies apart from their enums has all of them."""

import re
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from app.events.models import Anomaly, EventType
from app.files.repository import _ANOMALIES
from app.http.openapi import not_one_of
from sync_client import EventType as ClientEventType
from sync_client.commands.line import _OF_TYPE
from tests.conftest import ROOT

NAMED = {
    "README.md": "`{}`",
    "docs/feed.md": "`{}`",
    "docs/webhooks.md": "`sync.file.{}`",
}


def test_the_client_knows_them() -> None:
    assert set(get_args(ClientEventType)) == set(EventType), "sync_client/models.py"


def test_each_has_a_colour_in_the_terminal() -> None:
    assert set(_OF_TYPE) == set(EventType), "sync_client/commands/line.py"


@pytest.mark.parametrize("page", NAMED)
def test_the_pages_name_each(page: str) -> None:
    words = (ROOT / page).read_text()
    assert [one for one in EventType if NAMED[page].format(one) not in words] == []


def test_the_readme_names_each_anomaly() -> None:
    assert set(re.findall(r"`(\w+_of_\w+)`", (ROOT / "README.md").read_text())) == set(Anomaly)


def test_each_anomaly_is_found_in_one_way() -> None:
    assert set(_ANOMALIES) == set(Anomaly)
    assert len(set(_ANOMALIES.values())) == len(Anomaly)
    assert all(f"{of_type}_of_{condition}_file" == one for one, (of_type, condition) in _ANOMALIES.items())


def test_the_refusal_in_the_document_is_that_of_the_service() -> None:
    with pytest.raises(ValidationError) as refusal:
        TypeAdapter(EventType).validate_python("re-upload")
    [error] = refusal.value.errors()
    [documented] = not_one_of(["body"], EventType).errors or []
    assert (documented.msg, documented.type) == (error["msg"], error["type"])
