"""What the verifier asks of its keys, wherever they come from."""

from typing import Protocol

from jose.backends.base import Key


class KeySource(Protocol):
    """Keys that verify signatures."""

    def generation(self) -> int:
        """A number that grows whenever a key has come, gone or aged out."""
        ...

    def ready(self) -> bool:
        """Whether there is any key to verify tokens with."""
        ...

    async def find(self, key_id: str, algorithm: str) -> Key | None:
        """The key named `key_id`, prepared for `algorithm`, or None when there is none.

        Raises:
            KeysUnavailable: nobody can say now whether there is such a key.
        """
        ...
