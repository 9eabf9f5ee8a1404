"""What the routes of deliveries ask for."""

from typing import Annotated

from fastapi import Depends, Request

from app.deliveries.ping import Pinger
from app.deliveries.redelivery import Redelivery


async def get_pinger(request: Request) -> Pinger:
    """What sends pings, built by the lifespan."""
    pinger: Pinger = request.state.pinger
    return pinger


async def get_redelivery(request: Request) -> Redelivery:
    """What has deliveries sent again, built by the lifespan."""
    redelivery: Redelivery = request.state.redelivery
    return redelivery


Pings = Annotated[Pinger, Depends(get_pinger)]
Redeliveries = Annotated[Redelivery, Depends(get_redelivery)]
