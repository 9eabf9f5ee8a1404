"""Whether the service can do its job."""

import asyncio
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.database.engine import Database
from app.errors import Unavailable

CHECK_TIMEOUT_SECONDS = 0.8


class Health(BaseModel):
    """The answer of `GET /health`."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["sync-service"] = "sync-service"
    database: Literal["connected", "disconnected"]
    timestamp: datetime


async def check_health(database: Database) -> Health:
    """Ask the database for an answer within 0.8 seconds."""
    connected = await _answers(database)
    return Health(
        status="healthy" if connected else "unhealthy",
        database="connected" if connected else "disconnected",
        timestamp=datetime.now(UTC),
    )


async def _answers(database: Database) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await database.ping()
    except (Unavailable, SQLAlchemyError, TimeoutError):
        return False
    return True
