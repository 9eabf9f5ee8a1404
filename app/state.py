"""What every request finds in `request.state`."""

from typing import TypedDict

from app.auth.dependencies import TokenVerifier
from app.changes.service import ChangeService
from app.concurrency.rate_limit import RateLimiter
from app.config import Settings
from app.consistency.service import Consistency
from app.database.engine import Database
from app.deliveries.service import DeliveryService
from app.events.event_reader import EventReader
from app.events.ledger import Ledger
from app.http.body import LargeBodies
from app.http.connection_limit import ConnectionLimit
from app.http.pages import PageMemory
from app.metrics import Metrics
from app.operations.health import HealthMonitor
from app.subscriptions.service import SubscriptionService


class State(TypedDict):
    """The state that every request has as `request.state`."""

    settings: Settings
    database: Database
    ledger: Ledger
    event_reader: EventReader
    changes: ChangeService
    verifier: TokenVerifier
    rate_limiter: RateLimiter | None
    large_bodies: LargeBodies
    page_memory: PageMemory
    connection_limit: ConnectionLimit
    metrics: Metrics
    monitor: HealthMonitor
    subscriptions: SubscriptionService
    deliveries: DeliveryService
    consistency: Consistency
