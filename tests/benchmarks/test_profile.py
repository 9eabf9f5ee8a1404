"""Samples are shared out by what the worker was at."""

import pytest

from benchmarks.profile import OTHER, share_parts

OUTER = ["main (app/server.py:60)", "run_asgi (uvicorn/protocols/http/httptools_impl.py:420)"]


@pytest.mark.parametrize(
    ("frames", "part"),
    [
        (OUTER, "HTTP and the event loop"),
        ([*OUTER, "__call__ (starlette/routing.py:700)"], "FastAPI and Starlette"),
        (
            [*OUTER, "_commit (app/events/ledger.py:9)", "unwrap (inspect.py:5)"],
            "database: ledger, SQLAlchemy, asyncpg",
        ),
        (
            [*OUTER, "parse_json (app/http/strict_json.py:60)", "decode (json/decoder.py:337)"],
            "body: reading, strict JSON, validation",
        ),
        ([*OUTER, "check (app/auth/dependencies.py:60)"], "token, permission, rate"),
        ([*OUTER, "__call__ (app/events/router.py:60)"], "the call of the endpoint, and its response"),
        ([*OUTER, "__call__ (app/http/middleware.py)"], "request id, metrics, limits, log"),
        (["", "[idle]"], OTHER),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_innermost_frame_that_is_known_decides(frames: list[str], part: str) -> None:
    assert share_parts([(frames, 3)]) == {part: 1.0}


def test_shares_add_up() -> None:
    shares = share_parts([(OUTER, 3), ([*OUTER, "x (starlette/routing.py:1)"], 1), (["?"], 4)])
    assert shares == {"HTTP and the event loop": 0.375, "FastAPI and Starlette": 0.125, OTHER: 0.5}
