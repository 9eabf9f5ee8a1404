"""Pages and streams as the documentation shows them."""

from typing import Any

from app.events.examples import PENDING_EVENT

CURSOR = "AQAAAAAAAAABq1jPVyTd-oSGtdHHsIBnSpDv"
PAGE: dict[str, Any] = {
    "changes": [PENDING_EVENT],
    "cursor": CURSOR,
    "has_more": False,
    "head_position": 1,
    "from_position": 1,
    "to_position": 1,
}
