"""docs/operations.md says what the service does: its metrics, its limits, how long its end takes."""

import httpx
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from app.config import Settings
from app.consistency.metrics import ConsistencyMetrics
from app.deliveries.metrics import WebhookMetrics
from app.metrics import Metrics
from tests.docs.markdown import OPERATIONS, rows, section
from tests.support.waiting import get_once_connected

SHARED_LABELS = {"sync_consistency_findings_open": ("kind", "source")}


def instruments() -> dict[str, MetricWrapperBase]:
    """The instruments that are declared, by the name they are exposed with."""
    registry = Metrics().registry
    WebhookMetrics(registry)
    ConsistencyMetrics(registry)
    collectors = registry._collector_to_names
    declared = [collector for collector in collectors if isinstance(collector, MetricWrapperBase)]
    return {one._name + ("_total" if one._type == "counter" else ""): one for one in declared}


async def test_every_metric_is_listed_with_its_type_labels_and_meaning(client: httpx.AsyncClient) -> None:
    exposition = (await get_once_connected(client, "/metrics")).text
    families = [one for one in text_string_to_metric_families(exposition) if one.name.startswith("sync_")]
    declared = instruments()
    wanted = {}
    for family in families:
        exposed = family.name + ("_total" if family.type == "counter" else "")
        labels = declared[exposed]._labelnames if exposed in declared else SHARED_LABELS.get(exposed, ())
        wanted[f"`{exposed}`"] = [family.type, ", ".join(f"`{label}`" for label in labels), family.documentation]
    listed = {first: rest for first, *rest in rows(section(OPERATIONS, "Metrics"))}
    shared = {metric for metric, cells in listed.items() if cells[-1].endswith(" *Shared.*")}
    assert {metric: [*cells[:-1], cells[-1].removesuffix(" *Shared.*")] for metric, cells in listed.items()} == wanted
    assert shared == {metric for metric in wanted if metric.strip("`") not in declared} - {
        "`sync_database_up`",
        "`sync_writes_refused`",
    }


def test_the_steps_of_the_end_are_named_by_their_settings() -> None:
    limits = [limit.strip("`") for _step, limit in rows(section(OPERATIONS, "Shutdown"))]
    assert limits == [
        "SHUTDOWN_DELAY",
        "SHUTDOWN_REQUEST_TIMEOUT",
        "SHUTDOWN_TIMEOUT",
        "2 s",
        "SHUTDOWN_TIMEOUT",
        "2 s",
        "11 s in all",
        "3 s",
    ]


def test_the_connections_of_four_processes_are_counted_right() -> None:
    settings = Settings(_env_file=None)
    each = settings.database_pool_size + settings.database_max_overflow + 1
    assert f"With the defaults 4 processes take {4 * each}." in section(OPERATIONS, "Scale").replace("\n", " ")
