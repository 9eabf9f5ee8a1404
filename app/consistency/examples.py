"""Sources, checks and findings as the documentation shows them."""

from pydantic import JsonValue

SOURCE_ID = "019376b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b"
CHECK_ID = "019376b1-2d3e-7f40-9b5c-6d7e8f9a0b1c"
FINDING_ID = "019376b2-3e4f-7051-8c6d-7e8f9a0b1c2d"
FILE_ID = "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11"
_AT = "2026-01-15T10:30:00Z"
NEW_SOURCE: dict[str, JsonValue] = {
    "name": "metadata service",
    "kind": "contract",
    "url": "https://metadata.example.com",
    "headers": {"Authorization": "Bearer 4f1c9a"},
}
SOURCE: dict[str, JsonValue] = {
    "id": SOURCE_ID,
    "name": "metadata service",
    "kind": "contract",
    "url": "https://metadata.example.com",
    "header_names": ["Authorization"],
    "grace_seconds": 300,
    "enabled": True,
    "created_at": _AT,
}
TEST_RESULT: dict[str, JsonValue] = {
    "ok": True,
    "status_code": 200,
    "duration_ms": 12,
    "error": None,
    "total": 1200,
    "watermark": 4711,
    "response": '{"items": [], "next": null, "total": 1200, "watermark": 4711}',
}
WHOLE: dict[str, JsonValue] = {"source": SOURCE_ID, "scope": {"all": True}}
NAMED: dict[str, JsonValue] = {"source": SOURCE_ID, "scope": {"file_ids": [FILE_ID]}}
CHECK: dict[str, JsonValue] = {
    "id": CHECK_ID,
    "source": SOURCE_ID,
    "state": "complete",
    "reason": None,
    "position": 4711,
    "compared": 1198,
    "of": 1200,
    "in_flight": 2,
    "counts": {"missing": 1},
    "started_at": _AT,
    "ended_at": "2026-01-15T10:30:02Z",
}
EVIDENCE: dict[str, JsonValue] = {"expected": {"exists": True}, "found": {"exists": False}}
FINDING: dict[str, JsonValue] = {
    "id": FINDING_ID,
    "source": SOURCE_ID,
    "file_id": FILE_ID,
    "kind": "missing",
    "state": "open",
    "evidence": EVIDENCE,
    "first_seen_at": _AT,
    "last_seen_at": "2026-01-15T10:35:00Z",
    "resolved_at": None,
    "reason": None,
    "message": "By its events the file exists, but the source does not hold it.",
}
FILE_CONSISTENCY: dict[str, JsonValue] = {
    "file_id": FILE_ID,
    "sources": [{"source": SOURCE_ID, "verdict": "inconsistent", "seen_at": _AT, "evidence": EVIDENCE}],
}
