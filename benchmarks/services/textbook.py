"""The service as a good tutorial would write it: decode the token, add through the ORM, commit, for each request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.security import OAuth2PasswordBearer
from jose import JWTError, jwt
from pydantic import BaseModel
from sqlalchemy import JSON, DateTime, String, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.config import load_settings

settings = load_settings()


class Base(DeclarativeBase):
    """The tables of this service."""


class StoredEvent(Base):
    """One event."""

    __tablename__ = "textbook_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    file_id: Mapped[UUID] = mapped_column(index=True)
    event_type: Mapped[str] = mapped_column(String(16))
    event_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JSON)
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC), index=True)
    processed: Mapped[bool] = mapped_column(default=False)


class EventType(StrEnum):
    """What happened to a file."""

    UPLOAD = "upload"
    DELETE = "delete"
    UPDATE = "update"


class NewEvent(BaseModel):
    """One event to record."""

    file_id: UUID
    event_type: EventType
    metadata: dict[str, Any] | None = None


class EventCreated(BaseModel):
    """The event is committed."""

    message: str = "Sync event created successfully"
    event_id: UUID


def create_engine() -> AsyncEngine:
    """An engine with as many connections as the service has, and on SQLite as durable and as patient."""
    target = settings.database
    engine = create_async_engine(
        target.url,
        connect_args=target.connect_args,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout=30,
    )
    if target.is_sqlite:

        @event.listens_for(engine.sync_engine, "connect")
        def configure(connection: DBAPIConnection, _record: object) -> None:
            cursor = connection.cursor()
            for pragma in ("busy_timeout = 30000", "journal_mode = WAL", "synchronous = FULL"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    return engine


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Create the table, fetch the keys once."""
    engine = create_engine()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with httpx.AsyncClient() as client:
        keys = (await client.get(f"https://{settings.auth0_domain}/.well-known/jwks.json")).json()
    yield {"sessions": async_sessionmaker(engine, expire_on_commit=False), "keys": keys}
    await engine.dispose()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for the request."""
    async with request.state.sessions() as session:
        yield session


async def get_subject(request: Request, token: Annotated[str, Depends(OAuth2PasswordBearer(tokenUrl="token"))]) -> str:
    """The subject of a good token."""
    try:
        claims = jwt.decode(
            token,
            request.state.keys,
            algorithms=list(settings.algorithms),
            audience=settings.api_audience,
            issuer=f"https://{settings.auth0_domain}/",
        )
    except JWTError:
        raise HTTPException(401, "Invalid token", {"WWW-Authenticate": "Bearer"}) from None
    return str(claims["sub"])


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """The process works."""
    return {"status": "healthy"}


@app.post("/sync-events", status_code=201)
async def create_event(
    new: NewEvent,
    session: Annotated[AsyncSession, Depends(get_session)],
    subject: Annotated[str, Depends(get_subject)],
) -> EventCreated:
    """Record one event."""
    stored = StoredEvent(
        file_id=new.file_id, event_type=new.event_type, event_metadata=new.metadata, created_by=subject
    )
    session.add(stored)
    await session.commit()
    return EventCreated(event_id=stored.id)
