"""What the file routes ask for."""

from typing import Annotated

from fastapi import Depends, Request

from app.files.delivery_progress import DeliveryProgress


async def get_delivery_progress(request: Request) -> DeliveryProgress:
    """Who knows how far the subscriptions are, put there by the lifespan."""
    progress: DeliveryProgress = request.state.delivery_progress
    return progress


Deliveries = Annotated[DeliveryProgress, Depends(get_delivery_progress)]
