"""What the OpenAPI document says about the answers of the operations routes."""

from typing import Any

from app.http.middleware import TooManyUnderWay
from app.http.responses import RETRY_AFTER_HEADER, Responses, problems, success
from app.operations.health import Health, Readiness

_HEALTHY: dict[str, Any] = {
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
    "last_sweep_at": "2026-01-15T10:29:57.6Z",
}
_DEGRADED: dict[str, Any] = {
    **_HEALTHY,
    "status": "degraded",
    "writes": "refused",
    "writes_refused_reason": "The disk of the database is full, or can not be written.",
}
_UNHEALTHY: dict[str, Any] = {
    **_HEALTHY,
    "status": "unhealthy",
    "database": "disconnected",
    "writes": "refused",
    "writes_refused_reason": "The database does not respond.",
    "unprocessed_events": None,
    "oldest_unprocessed_age_seconds": None,
    "set_aside_events": None,
}
_CHECKS = {"database": "ok", "migrations": "ok", "keys": "ok", "shutdown": "ok"}
_METRICS = """\
# HELP sync_events_unprocessed Events that wait for the sweep.
# TYPE sync_events_unprocessed gauge
sync_events_unprocessed 12.0
"""

INFORMATION: Responses = {
    200: success(
        "What answers here.",
        {
            "title": "Synchronization Service API",
            "version": "1.0.0",
            "description": "Service for handling synchronization events",
            "status": "running",
            "links": {"documentation": "/docs", "health": "/health", "events": "/sync-events"},
        },
    ),
    **problems({"under_way": TooManyUnderWay()}),
}
HEALTH: Responses = {
    200: {
        "description": "The database answers; `degraded` while it does not accept events.",
        "headers": {},
        "content": {
            "application/json": {
                "examples": {
                    "healthy": {"summary": "Everything works.", "value": _HEALTHY},
                    "degraded": {"summary": "Events can be read and not recorded.", "value": _DEGRADED},
                }
            }
        },
    },
    503: {"model": Health, **success("The database does not answer.", _UNHEALTHY, RETRY_AFTER_HEADER)},
}
LIVENESS: Responses = {200: success("The process answers.", {"status": "alive"})}
READINESS: Responses = {
    200: success("Every check is good.", {"status": "ready", "checks": _CHECKS}),
    503: {
        "model": Readiness,
        **success(
            "One of the checks has failed.",
            {"status": "unready", "checks": _CHECKS | {"shutdown": "failed"}},
            RETRY_AFTER_HEADER,
        ),
    },
}
METRICS: Responses = {
    200: {
        "description": "Metrics in Prometheus' text format.",
        "content": {"text/plain": {"schema": {"type": "string"}, "example": _METRICS}},
    }
}
