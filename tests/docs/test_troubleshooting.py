"""docs/troubleshooting.md quotes what the service says."""

import re
from pathlib import Path

import httpx
import pytest

from app.auth.token import KeysUnavailable, Reason, Scope, ScopeMissing
from app.changes.service import TooManyFollowers
from app.config import load_settings
from app.database.engine import ConnectionsInUse, Database
from app.database.errors import DatabaseDamaged, DatabaseUnavailable, WritesRefused
from app.database.migrations import NotMigrated, Schema, prepare_schema
from app.database.watermark import NotYetDurable
from app.events.ledger import CommitTooLate, LedgerBusy
from app.http.body import TooManyLargeBodies
from app.http.middleware import RequestMiddleware
from app.metrics import HttpMetrics
from tests.conftest import Alembic, MakeSettings
from tests.docs.markdown import TROUBLESHOOTING, rows, section

NO_TENANT = "your-auth0-domain.auth0.com"


async def concurrency_detail() -> str:
    """What a request is told that is one too many."""

    async def nobody(*_arguments: object) -> None:
        raise AssertionError

    transport = httpx.ASGITransport(RequestMiddleware(nobody, limit=0, metrics=HttpMetrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        detail: str = (await client.get("/sync-events")).json()["detail"]
        return detail


def is_quoted(refusal: str) -> bool:
    """Whether the page quotes it among the refusals to start; "…" there stands for what differs."""
    quotes = [cells[0].strip("`").strip() for cells in rows(section(TROUBLESHOOTING, "The service does not start"))]
    return any(re.search(re.escape(quote).replace("…", ".+"), refusal) for quote in quotes)


def test_every_reason_of_a_401_is_explained() -> None:
    listed = {reason: detail for detail, reason, _advice in rows(section(TROUBLESHOOTING, "Authentication failures"))}
    assert str(ScopeMissing(Scope.READ)).startswith(listed.pop("`scope` (403)").removesuffix("…"))
    assert listed == {f"`{reason}`": reason.description for reason in Reason}


async def test_every_reason_of_a_503_is_explained() -> None:
    said = {
        DatabaseUnavailable.detail,
        DatabaseDamaged.detail,
        WritesRefused.detail,
        NotYetDurable.detail,
        KeysUnavailable.detail,
        LedgerBusy.detail,
        CommitTooLate.detail,
        ConnectionsInUse.detail,
        TooManyLargeBodies.detail,
        TooManyFollowers.detail,
        await concurrency_detail(),
    }
    listed = [cells[0] for cells in rows(section(TROUBLESHOOTING, "Refused requests")) if len(cells) == 2]
    assert {detail for detail in said if detail.startswith(tuple(listed))} == said
    assert len(listed) == len(said)


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "production"},
        {"environment": "production", "auth0_domain": NO_TENANT},
        {"environment": "production", "auth0_domain": "example.auth0.com", "web_concurrency": "2"},
        {"auth0_domain": "https://example.auth0.com/"},
        {"secret_key": "short"},
        {"database_url": "postgresql:/nothing"},
        {"sync_event_process_interval": "soon"},
    ],
)
def test_refusals_to_start_are_quoted(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # away from a developer's .env
    with pytest.raises(SystemExit) as refusal:
        load_settings(**{"database_url": "sqlite:///./sync.db", "auth0_domain": "", **settings})
    assert is_quoted(str(refusal.value))


@pytest.mark.parametrize("revision", ["base", "-1"])
async def test_the_refusal_of_an_old_schema_is_quoted(
    revision: str, make_settings: MakeSettings, postgres_url: str, alembic: Alembic
) -> None:
    alembic(postgres_url, "downgrade", revision)
    settings = make_settings(database_url=postgres_url, database_migrate_on_start=False)
    database = Database(settings)
    with pytest.raises(NotMigrated) as refusal:
        await prepare_schema(database, settings, Schema())
    await database.close()
    assert is_quoted(str(refusal.value))
