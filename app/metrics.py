"""The instruments of the service, in groups; those of the webhooks and of consistency stand with them.

Names, units and labels follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/). Labels never hold
an id or anything else that a caller can invent. With several worker processes the values of all of them are added up,
through files in `PROMETHEUS_MULTIPROC_DIR`, which prometheus-client reads when it is imported.
"""

import platform
from collections import Counter as TypeCounts
from collections.abc import Iterable, Sequence
from functools import cache, partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
REJECTIONS = (
    "concurrency",
    "connections",
    "followers",
    "large_bodies",
    "rate",
    "not_http",
    "slow_headers",
    "large_headers",
)
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # events


def instruments(registry: CollectorRegistry | None) -> tuple[partial[Counter], partial[Histogram], partial[Gauge]]:
    """Makes counters, histograms, and gauges that are added up over the workers, each in `registry`."""
    live_gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
    return partial(Counter, registry=registry), partial(Histogram, registry=registry), live_gauge


class HttpMetrics:
    """Requests and their responses, by route template."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, histogram, live_gauge = instruments(registry)
        self._requests = counter(
            "sync_http_requests",
            "Requests, by the status of their response: 499 when the client left before there was one, "
            "`aborted` when the process ended before there was a response.",
            ("method", "route", "status"),
        )
        self._duration = histogram(
            "sync_http_request_duration_seconds",
            "Time from a request to the end of its response; without streams and long polls.",
            ("method", "route"),
            buckets=LATENCIES,
        )
        self.in_progress = live_gauge(
            "sync_http_requests_in_progress",
            "Requests whose response is not complete yet; without streams and long polls.",
        )
        self._rejected = counter(
            "sync_http_requests_rejected",
            "Requests refused by a limit: `rate` (429), `concurrency`, `connections`, `followers` "
            "or `large_bodies` (429 or 503), or before they became a request of the application: "
            "`not_http` (400, 501), `slow_headers` (408), `large_headers` (431).",
            ("reason",),
        )
        self.connections_closed = counter(
            "sync_http_connections_closed",
            "Idle connections closed because there were too many for the limit of open files.",
        )
        for reason in REJECTIONS:
            self._rejected.labels(reason)
        # There are few of them, and the library's own look-up takes a lock and several times as long.
        self._count = cache(self._requests.labels)
        self._time = cache(self._duration.labels)

    def ended(self, method: str, route: str | None, status: int, duration_seconds: float | None) -> None:
        """Count a request that has ended, and time it unless `duration_seconds` is None.

        `route` is its template, None when no route took it; status 0: no response.
        """
        of_route = (method if method in METHODS else "OTHER", route or "unmatched")
        self._count(*of_route, str(status) if status else "aborted").inc()
        if duration_seconds is not None:
            self._time(*of_route).observe(duration_seconds)

    def rejected(self, reason: str) -> None:
        self._rejected.labels(reason).inc()


class LedgerMetrics:
    """Appends and their group commits."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, histogram, live_gauge = instruments(registry)
        self._events_appended = counter(
            "sync_ledger_events_appended", "Events committed, by their type.", ("event_type",)
        )
        self._commit_events = histogram(
            "sync_ledger_commit_events", "Events written by one group commit.", buckets=_SIZES
        )
        self._commit_duration = histogram(
            "sync_ledger_commit_duration_seconds",
            "Time of one group commit, until it is flushed to disk.",
            buckets=LATENCIES,
        )
        self.commit_failures = counter(
            "sync_ledger_commit_failures",
            "Group commits that the database did not confirm; their callers got an error and may retry.",
        )
        self.busy = counter("sync_ledger_busy", "Appends refused because too many events waited for their commit.")
        self.queue_events = live_gauge("sync_ledger_queue_events", "Events that wait for their group commit.")

    def start_at_zero(self, event_types: Iterable[str]) -> None:
        """Expose a count of these types before there is an event of them, so that their rates begin with the first."""
        for event_type in event_types:
            self._events_appended.labels(event_type)

    def committed(self, event_types: Sequence[str], duration_seconds: float) -> None:
        """Count one group commit with events of these types."""
        self._commit_events.observe(len(event_types))
        self._commit_duration.observe(duration_seconds)
        for event_type, number in TypeCounts(event_types).items():
            self._events_appended.labels(event_type).inc(number)


class ChangeMetrics:
    """The change feed: its followers and its delay."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, histogram, live_gauge = instruments(registry)
        followers = live_gauge(
            "sync_changes_followers",
            "Followers that are connected: a `stream`, or a `long_poll` that waits.",
            ("kind",),
        )
        self.followers = {kind: followers.labels(kind) for kind in ("stream", "long_poll")}
        sent = counter("sync_changes_sent", "Changes handed out, once for each follower.", ("kind",))
        self.sent = {kind: sent.labels(kind) for kind in ("page", "stream")}
        self.read_delay = histogram(
            "sync_changes_read_delay_seconds",
            "Time from the commit of an event until this process has read it for its followers.",
            buckets=LATENCIES,
        )
        self.reader_failures = counter(
            "sync_changes_reader_failures", "Attempts to read new events for the followers of this process that failed."
        )


class SweepMetrics:
    """Passes of the sweep and their batches."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, histogram, _ = instruments(registry)
        self.batch_events = histogram("sync_sweep_batch_events", "Events taken up by one batch.", buckets=_SIZES)
        self.batch_duration = histogram(
            "sync_sweep_batch_duration_seconds",
            "Time of one batch that took up events, until it is committed.",
            buckets=LATENCIES,
        )
        self.failures = counter("sync_sweep_failures", "Passes that ended with an error.")
        self.attempts_failed = counter(
            "sync_sweep_attempts_failed", "Events that a handler refused, once for each attempt."
        )
        self.events_set_aside = counter("sync_sweep_events_set_aside", "Events set aside after their last attempt.")
        self.last_success = Gauge(
            "sync_sweep_last_success_timestamp_seconds",
            "Unix time of the last pass that ended well, whether there was anything to do or not.",
            registry=registry,
            multiprocess_mode="max",
        )


class AuthMetrics:
    """Tokens refused, and the keys they are judged with."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, _, _ = instruments(registry)
        self.rejections = counter(
            "sync_auth_rejections",
            "Requests refused for their token: by the reason of a 401, or `scope` for a 403.",
            ("reason",),
        )
        self.key_refreshes = counter(
            "sync_auth_key_refreshes", "Fetches of the signing keys, by outcome.", ("outcome",)
        )
        self.keys_confirmed = Gauge(
            "sync_auth_keys_confirmed_timestamp_seconds",
            "Unix time of the last fetch of the signing keys that succeeded; 0 before the first, and in local mode.",
            registry=registry,
            multiprocess_mode="max",
        )


class DatabaseMetrics:
    """The connection pool, SQLite's write-ahead log, and the oldest snapshot on PostgreSQL."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        _, _, live_gauge = instruments(registry)
        most_of_workers = partial(Gauge, registry=registry, multiprocess_mode="livemax")
        connections = live_gauge("sync_database_connections", "Connections of the pool, by state.", ("state",))
        self.idle = connections.labels("idle")
        self.in_use = connections.labels("in_use")
        self.limit = live_gauge(
            "sync_database_connections_limit", "Connections that the pool may open: its size and its overflow."
        )
        self.wal_bytes = most_of_workers("sync_sqlite_wal_bytes", "Size of SQLite's write-ahead log; 0 on PostgreSQL.")
        self.oldest_snapshot = most_of_workers(
            "sync_database_oldest_snapshot_age_seconds",
            "Age of the oldest transaction that keeps PostgreSQL from removing dead rows; 0 on SQLite.",
        )


class Metrics:
    """These groups and those of the domains above, in one registry."""

    def __init__(self) -> None:
        # They would put a time stamp beside every counter, which has no reader here.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not typed by prometheus-client
        self.registry = CollectorRegistry()
        self.http = HttpMetrics(self.registry)
        self.ledger = LedgerMetrics(self.registry)
        self.changes = ChangeMetrics(self.registry)
        self.sweep = SweepMetrics(self.registry)
        self.auth = AuthMetrics(self.registry)
        self.database = DatabaseMetrics(self.registry)
        self._build = Gauge(
            "sync_build_info",
            "1, with the versions of the service and of Python, and the kind of database.",
            ("version", "python", "database"),
            registry=self.registry,
            multiprocess_mode="max",
        )
        self.log_lines_dropped = Counter(
            "sync_log_lines_dropped",
            "Log lines dropped because standard error did not take them at once.",
            registry=self.registry,
        )
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def tell_build(self, version: str, database: str) -> None:
        self._build.labels(version, platform.python_version(), database).set(1)
