"""The table of file states, a projection of the processed events that can be rebuilt from them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.types import Base


class FileState(Base):
    """The file's state, derived from its processed events. `updated_at` is when its last event was recorded."""

    __tablename__ = "files"

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int]
    last_event_id: Mapped[UUID]
    last_event_type: Mapped[str] = mapped_column(String(16))
    last_position: Mapped[int]
    updated_at: Mapped[datetime]

    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)
