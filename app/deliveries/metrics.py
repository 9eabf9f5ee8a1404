"""The instruments of the deliveries to subscribers."""

from prometheus_client import CollectorRegistry

from app.metrics import LATENCIES, instruments
from app.subscriptions.models import Outcome

_DELAYS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0)  # seconds


class WebhookMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        counter, histogram, live_gauge = instruments(registry)
        self.attempts = counter(
            "sync_webhook_attempts", "Requests to subscribers whose result is written, by outcome.", ("outcome",)
        )
        for outcome in Outcome:
            self.attempts.labels(outcome)
        self.attempt_duration = histogram(
            "sync_webhook_attempt_duration_seconds",
            "Time of one request to a subscriber, from connecting to the end of its response.",
            buckets=(*LATENCIES, 20.0, 30.0),
        )
        self.delay = histogram(
            "sync_webhook_delay_seconds",
            "Time from the commit of an event until it is known to be delivered, once for each subscription, without "
            "redeliveries and replays.",
            buckets=_DELAYS,
        )
        self.dead = counter("sync_webhook_deliveries_dead", "Deliveries that used up their attempts.")
        self.late = counter(
            "sync_webhook_results_late",
            "Results that were not written since their lease had ended and the delivery was claimed again.",
        )
        self.stalled = counter(
            "sync_webhook_deliveries_stalled",
            "Deliveries that nothing would have made due, and that the check of every minute made due.",
        )
        self.corrected = counter(
            "sync_webhook_due_times_corrected",
            "Deliveries and subscriptions that were made due since a clock had been set back.",
        )
        self.unreadable = counter(
            "sync_webhook_unreadable",
            "Looks at subscriptions that could not be sent to since no key opens their secrets.",
        )
        self.in_flight = live_gauge("sync_webhook_deliveries_in_flight", "Deliveries that are being sent or settled.")
