"""The caller, once its token has been verified."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a token can allow."""

    READ = "read:sync"
    WRITE = "write:sync"
    ADMIN = "admin:sync"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling (`subject`, 1 to 255 printable characters) and what the token allows (`scopes`).

    From `refused_from` on (seconds since the epoch, the leeway included) the token is good no more.
    """

    subject: str
    scopes: frozenset[str]
    refused_from: float
