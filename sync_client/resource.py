"""The base of the groups of operations."""

from typing import Generic

from sync_client.connection import Connection
from sync_client.face import Face_co


class Resource(Generic[Face_co]):
    """A group of operations on one connection, run by one face."""

    def __init__(self, connection: Connection, face: Face_co) -> None:
        self._connection = connection
        self._face = face

    @property
    def face(self) -> Face_co:
        """How its operations are run."""
        return self._face
