"""The declarative base of every model, and the naming convention that lets alembic name constraints alike."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, MetaData, Uuid
from sqlalchemy.orm import DeclarativeBase

from app.database.types import UtcDateTime


class Base(DeclarativeBase):
    """Base of all models."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {int: BigInteger, UUID: Uuid(), datetime: UtcDateTime()}


def one_of(column: str, choices: type[StrEnum]) -> str:
    """The check constraint that `column` holds one of `choices`."""
    return f"{column} IN ({', '.join(repr(choice.value) for choice in choices)})"
