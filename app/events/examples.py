"""Events as the documentation shows them; each request works when it is sent."""

from typing import Any

from pydantic import JsonValue

EVENT_ID = "019376a4-9c1e-7b52-8f0e-3f6d2a1b4c5d"
FILE_ID = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"
OTHER_FILE_ID = "c2a9d6b4-8f31-4e57-b1d0-5e6a7c8f9b02"

UPLOAD: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "event_type": "upload",
    "metadata": {"path": "reports/2026.pdf", "size": 5242880},
}
UPDATE: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "event_type": "update",
    "metadata": {"path": "reports/2026-final.pdf", "previous_path": "reports/2026.pdf", "tags": ["final"]},
}
DELETE: dict[str, JsonValue] = {"file_id": FILE_ID, "event_type": "delete"}
PENDING_EVENT: dict[str, JsonValue] = {
    "event_id": EVENT_ID,
    **UPLOAD,
    "created_at": "2026-01-15T10:30:00Z",
    "processed": False,
    "processed_at": None,
    "position": 1,
    "created_by": "chunker@clients",
    "anomaly": None,
    "state": "pending",
    "attempts": 0,
    "last_error": None,
}
PROCESSED_EVENT: dict[str, JsonValue] = {
    **PENDING_EVENT,
    "processed": True,
    "processed_at": "2026-01-15T10:30:04.212Z",
    "state": "processed",
}

EVENT_BODIES: dict[str, Any] = {
    "upload": {"summary": "A file was uploaded", "value": UPLOAD},
    "update": {"summary": "The file was renamed; metadata is free JSON", "value": UPDATE},
    "delete": {"summary": "The file is to be deleted", "value": DELETE},
}
BATCH_BODIES: dict[str, Any] = {
    "batch": {"summary": "The life of a file", "value": {"events": [UPLOAD, UPDATE, DELETE]}},
    "idempotent": {
        "summary": "Two files, with keys: sent again, it records nothing",
        "value": {
            "events": [
                {**UPLOAD, "idempotency_key": f"{FILE_ID}-1"},
                {"file_id": OTHER_FILE_ID, "event_type": "upload", "idempotency_key": f"{OTHER_FILE_ID}-1"},
            ]
        },
    },
}
