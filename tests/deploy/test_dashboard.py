"""The Grafana dashboard can be imported anywhere, is laid out whole, and asks questions that Prometheus understands."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy.prometheus import MONITORING, dashboard, dashboard_expressions, promtool

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GRAFANAS_OWN = {"type": "grafana", "uid": "-- Grafana --"}  # of annotations made by hand; it is in every Grafana
BUILT_IN = {"__rate_interval"}

PANELS: list[dict[str, Any]] = dashboard()["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]


def data_sources(value: Any) -> Iterator[Any]:
    """Everything that is called `datasource`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from [inner] if name == "datasource" else data_sources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from data_sources(inner)


def variables(*values: Any) -> set[str]:
    """The names of the variables that are used in `values`, at any depth."""
    return set(re.findall(r"\$\{?(\w+)", json.dumps(values)))


def test_it_can_be_imported_and_is_found_again() -> None:
    content = dashboard()
    assert (content["id"], content["uid"], content["title"]) == (None, "sync-service", "Sync Service")
    assert content["schemaVersion"] >= 39


def test_no_data_source_is_fixed() -> None:
    assert [source for source in data_sources(dashboard()) if source not in (SOURCE, GRAFANAS_OWN)] == []


def test_its_variables_are_declared_before_they_are_used() -> None:
    known = set(BUILT_IN)
    for variable in dashboard()["templating"]["list"]:
        assert variables(variable["query"], variable.get("datasource")) <= known
        known.add(variable["name"])
    assert {"datasource", "job", "instance"} < known
    assert variables(PANELS) == known


def test_the_panels_fill_the_grid_without_overlaps_or_holes() -> None:
    cells = Counter(
        (column, line)
        for place in (panel["gridPos"] for panel in PANELS)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    )
    height = max(line for _column, line in cells) + 1
    assert cells == Counter((column, line) for column in range(COLUMNS) for line in range(height))


def test_it_begins_with_whether_all_is_well() -> None:
    assert PANELS[0]["title"] == "Is all well?"
    assert {panel["type"] for panel in PANELS[1:9]} == {"stat"}
    assert {panel["gridPos"]["y"] for panel in PANELS[1:9]} == {1}


def test_panels_have_an_id_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: f"{panel['id']}-{panel['title']}")
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == SOURCE
    assert panel["fieldConfig"]["defaults"]["unit"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references) > 0
    assert all(target["expr"] and target["datasource"] == SOURCE for target in panel["targets"])
    if panel["type"] != "heatmap":
        steps = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert steps[0] is None
        assert steps[1:] == sorted(steps[1:])


@pytest.mark.promtool
def test_prometheus_understands_every_expression(tmp_path_factory: pytest.TempPathFactory) -> None:
    records = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(dashboard_expressions())]
    file = tmp_path_factory.mktemp("rules") / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    assert f"{len(records)} rules found" in promtool("check", "rules", "--lint=none", str(file))


def test_the_file_is_written_as_grafana_exports_it() -> None:
    text = (MONITORING / "grafana-dashboard.json").read_text()
    assert text == json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
