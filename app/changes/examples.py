"""Pages and streams as the documentation shows them."""

import json
from typing import Any

from app.events.schemas import PENDING_EVENT

BEGINNING = "AQAAAAAAAAAAsDODTOeDmniPlNanC_8h0Zuo"
CURSOR = "AgAAAAAAAAABsDODTOeDmniPlNanP20qG0xdyHF6VgNK"
PAGE: dict[str, Any] = {
    "changes": [PENDING_EVENT],
    "cursor": CURSOR,
    "has_more": False,
    "head_position": 1,
    "from_position": 1,
    "to_position": 1,
}
STREAM = f"""\
id: {BEGINNING}
retry: 1024

event: change
data: {json.dumps(PENDING_EVENT, separators=(",", ":"))}
id: {CURSOR}

: keep-alive
id: {CURSOR}

event: reconnect
data: {{"reason": "token-expired"}}
id: {CURSOR}

"""
