"""Whatever the pages name is there: targets of make, settings, metrics, alerts, paths of the API."""

import re
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.main import create_app
from tests.conftest import ROOT, MakeSettings
from tests.deploy.prometheus import exposed_names, rules
from tests.docs.markdown import PAGES, README, name, rows, section
from tests.support.waiting import get_once_connected

# Variables that are not the service's own settings.
OF_OTHERS = {
    "COMPILE_FLAGS",
    "EVENT_ID",
    "FORWARDED_ALLOW_IPS",
    "PROMETHEUS_MULTIPROC_DIR",
    "SO_REUSEPORT",
    "SSL_CERT_FILE",
    "SYNC_TEST_CHAOS_SECONDS",
    "SYNC_TEST_EXAMPLES",
    "SYNC_TEST_TAIL_SECONDS",
    "SYNC_TOKEN",
    "SYNC_URL",
    "SYNC_WEBHOOK_SECRET",
}
# Names that begin like a metric's: of the client, of the ledger's table, of databases in examples.
NO_METRICS = {"sync_client", "sync_events", "sync_db", "sync_restored"}
OF_CLIENT = {"SyncClient", "SyncError"}  # begin like an alert's
_SETTING = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_METRIC = re.compile(r"\bsync_[a-z_]+\b")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|[`(])make (?:-s )?([a-z]+)", page.read_text(), re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_exist(page: Path) -> None:
    named = {word for word in _SETTING.findall(page.read_text()) if not word.startswith("OTEL_")}
    assert named - OF_OTHERS <= {field.upper() for field in Settings.model_fields}


async def test_metrics_exist(client: httpx.AsyncClient) -> None:
    exposed = exposed_names((await get_once_connected(client, "/metrics")).text)
    histograms = {series.removesuffix("_bucket") for series in exposed if series.endswith("_bucket")}
    for page in PAGES:
        named = set(_METRIC.findall(re.sub(r"namespace_job:\S+", "", page.read_text())))
        assert named - NO_METRICS <= exposed | histograms, name(page)


def test_alerts_exist() -> None:
    alerts = {rule["alert"] for rule in rules("alert")}
    for page in PAGES:
        named = set(re.findall(r"`(Sync[A-Z]\w+)`|\[(Sync[A-Z]\w+)\]", page.read_text()))
        assert {one or other for one, other in named} - OF_CLIENT <= alerts, name(page)


def test_the_readme_lists_the_whole_api(make_settings: MakeSettings) -> None:
    document = create_app(make_settings()).openapi()
    offered = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    first_cells = [cells[0] for cells in rows(section(README, "The API"))]
    listed = set()
    for cell in first_cells:
        method, _, paths = cell.replace("`", "").partition(" ")
        listed |= {(method, path) for path in paths.split(", ")}
    pages = ("/console", "/docs", "/redoc", "/openapi.json", "/problems", "/problems/{name}")
    assert listed == offered | {("GET", path) for path in pages}


def test_the_readme_lists_the_queries_of_the_api(make_settings: MakeSettings) -> None:
    paths = create_app(make_settings()).openapi()["paths"]
    queries = {
        path: {one["name"] for one in item.get("get", {}).get("parameters", []) if one["in"] == "query"}
        for path, item in paths.items()
    }
    for cells in rows(section(README, "The API")):
        method, _, listed = cells[0].replace("`", "").partition(" ")
        if method == "GET":
            named = set(re.findall(r"`(\w+)`", cells[1])) & set().union(*queries.values())
            offered = set().union(*(queries.get(path, set()) for path in listed.split(", ")))
            assert named == offered, cells[0]
