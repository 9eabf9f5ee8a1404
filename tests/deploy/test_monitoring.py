"""The alerts fire when they should, are explained, and read metrics that the service exposes."""

import re
from uuid import uuid4

import httpx
import pytest
import yaml

from app.config import Settings
from app.events.schemas import METADATA_MAX_BYTES, PAGE_MAX_EVENTS
from app.metrics import REJECTIONS
from tests.conftest import ROOT
from tests.deploy.prometheus import (
    MONITORING,
    OF_PROMETHEUS,
    dashboard_expressions,
    exposed_names,
    metric_names,
    promtool,
    rules,
)
from tests.docs.markdown import section
from tests.support.waiting import get_once_connected

GUIDE = ROOT / "docs" / "alerts.md"
OF_OTHERS = {"SSL_CERT_FILE"}  # variables that are not the service's own settings

ALERTS = {rule["alert"]: rule for rule in rules("alert")}


@pytest.mark.promtool
def test_promtool_finds_nothing_wrong() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
    promtool("check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")


@pytest.mark.promtool
def test_the_unit_tests_of_the_alerts_pass() -> None:
    promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [
        case
        for test in yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_read(name: str) -> None:
    rule = ALERTS[name]
    assert re.fullmatch(r"Sync[A-Za-z]+", name)
    assert re.fullmatch(r"\d+m", rule["for"])
    assert set(rule["labels"]) == {"severity"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    base = "{{ with $externalLabels.runbook_base_url }}{{ . }}{{ else }}docs/alerts.md{{ end }}"
    assert rule["annotations"]["runbook_url"] == f"{base}#{name.lower()}"


def test_the_guide_has_a_section_for_every_alert_in_their_order() -> None:
    sections = re.findall(r"(?ms)^## (Sync\w+)\n\n`(\w+)` · .+?$(.+?)(?=^## |\Z)", GUIDE.read_text())
    assert [name for name, _severity, _text in sections] == list(ALERTS)
    for name, severity, text in sections:
        assert severity == ALERTS[name]["labels"]["severity"]
        assert re.findall(r"(?m)^- \*\*(\w+)\.\*\*", text) == ["Means", "Look", "Do"], name


def test_every_limit_is_explained_and_those_that_fire_have_a_step_of_their_own() -> None:
    expression = ALERTS["SyncRequestsRejected"]["expr"]
    [left_out] = re.findall(r'reason!~"([^"]+)"', expression)
    text = section(GUIDE, "SyncRequestsRejected")
    steps = re.findall(r"(?ms)^- \*\*\w+\.\*\*.+?(?=^- |\n\n)", text)
    assert len(steps) == 3
    for reason in REJECTIONS:
        assert f"`{reason}`" in text
        fires = reason not in left_out.split("|")
        assert all((f"`{reason}`" in step) is fires for step in steps), reason


def test_what_sets_the_memory_is_named() -> None:
    text = section(GUIDE, "SyncMemoryHigh")
    sizes = {name.upper() for name in Settings.model_fields if name.startswith("max_") or name.endswith("_size")}
    assert sizes - {"MAX_EVENT_BYTES", "MAX_HEADER_BYTES", "LEDGER_GROUP_SIZE"} <= set(re.findall(r"`(\w+)`", text))
    page_mib = round(PAGE_MAX_EVENTS * METADATA_MAX_BYTES / 2**20)
    assert f"a page of {PAGE_MAX_EVENTS} events is about {page_mib} MiB of text" in " ".join(text.split())


def test_the_links_of_the_guide_lead_somewhere() -> None:
    text = GUIDE.read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", text)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (
            target[1:] in anchors if target.startswith("#") else (GUIDE.parent / target.partition("#")[0]).exists()
        ), target


def test_the_texts_name_settings_that_exist() -> None:
    texts = [file.read_text() for file in (GUIDE, *MONITORING.iterdir())]
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", "".join(texts)))
    assert named - OF_OTHERS <= {name.upper() for name in Settings.model_fields}


def test_thresholds_follow_the_defaults_of_the_settings_they_stand_for() -> None:
    settings = Settings(_env_file=None)
    assert ALERTS["SyncLedgerQueueFilling"]["expr"].endswith(f"> {settings.ledger_queue_size // 2}")
    assert f"> {2 * settings.jwks_refresh_seconds:.0f}" in ALERTS["SyncKeyRefreshFailing"]["expr"]
    assert f"> {settings.jwks_max_age_seconds / 2:.0f}" in ALERTS["SyncKeysStale"]["expr"]


def test_recorded_series_are_named_by_convention_and_all_of_them_are_read() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    assert all(re.fullmatch(r"namespace_job:sync_[a-z_]+:[a-z0-9_]+", name) for name in recorded)
    read = {name for rule in ALERTS.values() for name in metric_names(rule["expr"]) if ":" in name}
    assert read == recorded


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        (
            'sum by (job, le) (rate(a_total{b="}c",d=~"$e"}[5m])) / on (job) group_left f:g:h > 14.4 * 0.001',
            "a_total f:g:h",
        ),
        ('time() - max(a{job="x"} > 0) unless on (b) (c == 1e9) or vector(0)', "a c"),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[1h])))", "a_bucket"),
    ],
)
def test_the_names_in_an_expression(expression: str, names: str) -> None:
    assert metric_names(expression) == set(names.split())


async def test_every_metric_that_is_read_is_exposed(client: httpx.AsyncClient) -> None:
    exposed = exposed_names((await get_once_connected(client, "/metrics")).text)
    sources = [rule["expr"] for rule in (*rules("alert"), *rules("record"))]
    read = {name for expression in (*sources, *dashboard_expressions()) for name in metric_names(expression)}
    assert {name for name in read if ":" not in name} - OF_PROMETHEUS - exposed == set()


@pytest.mark.promtool
async def test_promtool_finds_nothing_wrong_with_what_is_exposed(client: httpx.AsyncClient) -> None:
    assert (
        await client.post("/sync-events", json={"file_id": str(uuid4()), "event_type": "upload"})
    ).status_code == 201
    assert (await client.get("/sync-events", headers={"Authorization": "Bearer x.y.z"})).status_code == 401
    exposition = (await client.get("/metrics")).text
    assert 'route="/sync-events"' in exposition
    assert promtool("check", "metrics", text=exposition) == ""
