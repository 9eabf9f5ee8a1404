"""What messages to subscribers are made and sent with."""

from typing import NamedTuple
from uuid import UUID

from app.deliveries.message import EnvelopeFactory
from app.outbound.cipher import Vault
from app.outbound.client import Sender


class Outbox(NamedTuple):
    """The parts of a process that are there once, for the dispatcher and for whoever tries a subscription out."""

    ledger_id: UUID
    vault: Vault
    envelopes: EnvelopeFactory
    sender: Sender
