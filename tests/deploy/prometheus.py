"""Reads the rules and the dashboard of deploy/monitoring, and the names in them and in what a service exposes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
OF_PROMETHEUS = frozenset({"up", "ALERTS"})  # it makes these series itself

_KEYWORDS = frozenset({"and", "or", "unless", "bool", "offset", "group_left", "group_right"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABELS = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?![\w:]|\s*\()")
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def promtool(*arguments: str, text: str | None = None) -> str:
    """What promtool prints, run in deploy/monitoring with `text` as its input; an assertion fails when it objects."""
    assert shutil.which("promtool"), (
        "promtool is missing; it comes with Prometheus (Debian: apt-get install prometheus)"
    )
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=MONITORING, input=text, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of alerts.yaml; `kind` is `alert` or `record`."""
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    content: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return content


def dashboard_expressions() -> Iterator[str]:
    """The expressions of its panels, with every variable replaced by something of its kind."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$\w+", "any", target["expr"].replace("$__rate_interval", "5m"))


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression of PromQL reads: its names that are no function, keyword or label."""
    bare = _LABELS.sub(" ", _STRING.sub("", expression))
    return set(_NAME.findall(bare)) - _KEYWORDS


def exposed_names(exposition: str) -> set[str]:
    """The series that a text in Prometheus' format declares, those without a sample yet included."""
    return {
        family.name + suffix
        for family in text_string_to_metric_families(exposition)
        for suffix in _SUFFIXES.get(family.type, ("",))
    }
