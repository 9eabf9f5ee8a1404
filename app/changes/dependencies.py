"""What the routes of the feed ask for."""

from typing import Annotated

from fastapi import Depends, Request

from app.changes.feed import ChangeFeed


async def get_feed(request: Request) -> ChangeFeed:
    """The process's feed, built by the lifespan."""
    feed: ChangeFeed = request.state.feed
    return feed


Feed = Annotated[ChangeFeed, Depends(get_feed)]
