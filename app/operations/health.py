"""The health of the service, known within a second whatever the state of the database, and its routes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Response, status
from pydantic import BaseModel, Field, JsonValue

from app.auth.keys import KeySource
from app.concurrency.shutdown import Drain
from app.database.engine import Database
from app.database.errors import DatabaseDamaged
from app.database.migrations import Schema
from app.database.watch import Prober
from app.http.dependencies import from_state
from app.http.openapi import RETRY_AFTER_HEADER, Responses, documented
from app.http.types import examples
from app.operations.repository import NO_RESPONSE, LedgerStatus, Look, look_at

CHECK_TIMEOUT_SECONDS = 0.8
PATIENCE_SECONDS = 10  # without any connection to the database until a replica is not ready
SCHEMA = "schema"  # the check that finds the schema behind

CheckResult = Literal["ok", "failed"]

router = APIRouter(tags=["operations"])

_CHECKS: dict[str, JsonValue] = {"database": "ok", "migrations": "ok", "keys": "ok", "shutdown": "ok"}
_HEALTHY: dict[str, JsonValue] = {
    "status": "healthy",
    "service": "sync-service",
    "database": "connected",
    "writes": "accepted",
    "writes_refused_reason": None,
    "timestamp": "2026-01-15T10:30:00Z",
    "version": "1.0.0",
    "unprocessed_events": 12,
    "oldest_unprocessed_age_seconds": 2.4,
    "set_aside_events": 0,
    "ledger_ahead_seconds": 0,
    "open_findings": 0,
    "last_sweep_at": "2026-01-15T10:29:57.6Z",
}
_DEGRADED: dict[str, JsonValue] = {
    **_HEALTHY,
    "status": "degraded",
    "writes": "refused",
    "writes_refused_reason": "The disk of the database is full, or cannot be written.",
}
_UNHEALTHY: dict[str, JsonValue] = {
    **_HEALTHY,
    "status": "unhealthy",
    "database": "disconnected",
    "writes": "refused",
    "writes_refused_reason": "The database does not respond.",
    "unprocessed_events": None,
    "oldest_unprocessed_age_seconds": None,
    "set_aside_events": None,
    "ledger_ahead_seconds": None,
    "open_findings": None,
}


class Liveness(BaseModel):
    """The response of `GET /health/live`."""

    model_config = examples({"status": "alive"})

    status: Literal["alive"] = "alive"


class Checks(BaseModel):
    """The conditions under which the process should get requests."""

    database: CheckResult = Field(
        description="The database has responded within the last 10 seconds, and is not damaged or lost."
    )
    migrations: CheckResult = Field(description="Its schema is the one this release needs, or that of a later one.")
    keys: CheckResult = Field(description="There is a key to verify tokens with.")
    shutdown: CheckResult = Field(description="`failed` once shutdown has begun.")


class Readiness(BaseModel):
    """The response of `GET /health/ready`."""

    model_config = examples(
        {"status": "ready", "checks": _CHECKS},
        {"status": "unready", "checks": _CHECKS | {"shutdown": "failed"}},
    )

    status: Literal["ready", "unready"]
    checks: Checks


class Health(BaseModel):
    """The response of `GET /health`. The ledger's numbers are null while the database does not respond."""

    model_config = examples(_HEALTHY, _DEGRADED, _UNHEALTHY)

    status: Literal["healthy", "degraded", "unhealthy"] = Field(
        description="`degraded`: the service responds, but does not accept events; see `writes`."
    )
    service: Literal["sync-service"] = "sync-service"
    database: Literal["connected", "disconnected"]
    writes: Literal["accepted", "refused"] = Field(description="Whether events can be recorded now.")
    writes_refused_reason: str | None = Field(
        description="Why events are refused, in one sentence; null while they are accepted."
    )
    timestamp: datetime
    version: str
    unprocessed_events: int | None = Field(description="Events that wait for the sweep, those being retried included.")
    oldest_unprocessed_age_seconds: float | None = Field(description="Age of the oldest of them; 0 if there are none.")
    set_aside_events: int | None = Field(description="Events that failed too often and wait for an operator.")
    ledger_ahead_seconds: float | None = Field(
        description="How far the newest event's `created_at` is ahead of the database's clock; else 0."
    )
    open_findings: int | None = Field(description="Open findings of the consistency checks, counted up to 100,000.")
    last_sweep_at: datetime | None = Field(description="When the last sweep of this process ended well.")


def _unavailable(model: type[BaseModel], description: str) -> Responses:
    """The response 503 of a health route."""
    return {503: {"model": model, "description": description, "headers": RETRY_AFTER_HEADER}}


class HealthMonitor:
    """Looks at the database for all callers, one look at a time.

    A caller waits 0.8 seconds at most, and leaves a look that takes longer to end by itself: cancelling a
    statement on a connection that hangs would take its own time. A look that was done in time counts, however late we
    come to know it.

    A replica is unready for reasons of its own: no keys, its end, a schema that is behind, a lost or damaged SQLite
    file, or no connection for 10 seconds, whether the probe's or one of the pool. A database that refuses writes leaves
    it ready, as reads work.
    """

    def __init__(
        self,
        prober: Prober,
        schema: Schema,
        keys: KeySource,
        drain: Drain,
        database: Database,
        *,
        version: str,
        last_sweep_at: Callable[[], datetime | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prober = prober
        self._schema = schema
        self._keys = keys
        self._drain = drain
        self._database = database
        self._version = version
        self.last_sweep_at = last_sweep_at
        self._clock = clock
        self._connected_at = clock()
        self._serves_schema = True  # it does not start on another
        self._pending: Future[Look] | None = None

    @property
    def writes_refused_reason(self) -> str | None:
        """Why events cannot be recorded although the database may respond; None while they can."""
        return self._database.writability.reason

    async def health(self) -> Health:
        look = await self._look()
        status, refusal = look.status, self.writes_refused_reason
        if not look.connected:
            refusal = refusal or "The database does not respond."
        elif look.damaged:
            refusal = DatabaseDamaged.detail
        elif status is None:
            refusal = refusal or "The tables of the database are not whole."
        return Health(
            status="unhealthy" if status is None else "degraded" if refusal else "healthy",
            database="connected" if look.connected else "disconnected",
            writes="refused" if refusal else "accepted",
            writes_refused_reason=refusal,
            timestamp=datetime.now(UTC),
            version=self._version,
            unprocessed_events=status and status.unprocessed,
            oldest_unprocessed_age_seconds=status and status.oldest_unprocessed_age_seconds,
            set_aside_events=status and status.set_aside,
            ledger_ahead_seconds=status and status.ledger_ahead_seconds,
            open_findings=status and status.open_finding_count,
            last_sweep_at=self.last_sweep_at(),
        )

    async def readiness(self) -> Readiness:
        look = await self._look()
        silence = self._clock() - max(self._connected_at, self._database.responded_at)
        checks = {
            "database": silence < PATIENCE_SECONDS and not self._database.writability.is_damaged,
            "migrations": self._serves_schema and (look.status is not None or look.damaged or not look.connected),
            "keys": self._keys.ready(),
            "shutdown": not self._drain.begun,
        }
        return Readiness(
            status="ready" if all(checks.values()) else "unready",
            checks=Checks.model_validate({name: "ok" if good else "failed" for name, good in checks.items()}),
        )

    async def ledger_status(self) -> LedgerStatus | None:
        """The state of the ledger; None when the database does not respond in time."""
        return (await self._look()).status

    async def _look(self) -> Look:
        if self._pending is None or self._pending.done():
            self._pending = self._prober.run(look_at(self._prober))
        pending = self._pending
        await asyncio.wait({asyncio.wrap_future(pending)}, timeout=CHECK_TIMEOUT_SECONDS)
        look = pending.result() if pending.done() else NO_RESPONSE
        if look.connected:
            self._connected_at = self._clock()
            self._judge_schema(look.revision)
        return look

    def _judge_schema(self, revision: str | None) -> None:
        self._serves_schema = self._schema.serves(revision)
        if self._serves_schema:
            self._database.writability.allow(SCHEMA)
        else:
            self._database.writability.refuse(SCHEMA, self._schema.explain(revision))


Monitor = Annotated[HealthMonitor, from_state("monitor")]


@router.get(
    "/health",
    operation_id="getHealth",
    summary="Health",
    responses=documented(200, "The database responds; `degraded` while it refuses events.")
    | _unavailable(Health, "The database does not respond."),
)
@router.head("/health", include_in_schema=False)
async def get_health(monitor: Monitor, response: Response) -> Health:
    """Whether the service can do its job now, and how much work waits for it.

    Responds within a second, also while the database hangs; then with 503.
    """
    health = await monitor.health()
    _set_status(response, good=health.status != "unhealthy")
    return health


@router.get(
    "/health/live", operation_id="getLiveness", summary="Liveness", responses=documented(200, "The process responds.")
)
@router.head("/health/live", include_in_schema=False)
async def get_liveness() -> Liveness:
    """Whether the process responds at all. It checks nothing outside the process: a restart would not fix that."""
    return Liveness()


@router.get(
    "/health/ready",
    operation_id="getReadiness",
    summary="Readiness",
    responses=documented(200, "Every check passed.") | _unavailable(Readiness, "One of the checks failed."),
)
@router.head("/health/ready", include_in_schema=False)
async def get_readiness(monitor: Monitor, response: Response) -> Readiness:
    """Whether the process should be sent requests: it has a database, its migrations, and a key to verify tokens.

    A database that refuses events leaves it ready, because reads work; so do failures of less than 10 seconds.

    Responds within a second. Once shutdown has begun it responds with 503, before it stops listening.
    """
    readiness = await monitor.readiness()
    _set_status(response, good=readiness.status == "ready")
    return readiness


def _set_status(response: Response, *, good: bool) -> None:
    if not good:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        response.headers["Retry-After"] = "1"
