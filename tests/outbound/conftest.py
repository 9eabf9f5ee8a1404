"""Fixtures of the requests to receivers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from app.outbound.client import OutboundClient
from tests.outbound.support import ANYWHERE

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


@pytest.fixture
async def sender() -> AsyncIterator[OutboundClient]:
    """A sender that may send to loopback addresses and has plenty of time."""
    sender = OutboundClient(ANYWHERE, 20, clock=lambda: NOW)
    yield sender
    await sender.close()
