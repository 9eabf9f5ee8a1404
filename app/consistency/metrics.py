"""The instruments of the consistency checks."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter

from app.consistency.models import CheckState


class OpenFindings(NamedTuple):
    """Open findings of one kind and source."""

    kind: str
    source: str
    number: int


class ConsistencyMetrics:
    """Checks that this process has run."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._checks = Counter(
            "sync_consistency_checks",
            "Checks of whole sources and of named files that have ended, by outcome; without cancelled ones.",
            ("outcome",),
            registry=registry,
        )
        self._files = Counter(
            "sync_consistency_files_compared",
            "Files that checks of whole sources and of named files have compared.",
            registry=registry,
        )
        for outcome in (CheckState.COMPLETE, CheckState.INCOMPLETE, CheckState.SUSPECT):
            self._checks.labels(outcome)

    def changed(self, compared: int, state: str) -> None:
        """Count files that were compared, and the end of the check if `state` is one."""
        self._files.inc(max(0, compared))
        if state != CheckState.RUNNING:
            self._checks.labels(state).inc()
