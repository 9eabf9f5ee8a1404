"""Webhooks: deliveries per second against a bare loop of POSTs by httpx, and the time from 201 to delivered."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from uuid import UUID, uuid4

import httpx

from benchmarks.bench import ALONE, QUIET, Bench
from benchmarks.database import PostgresStore
from benchmarks.deliveries import SETTINGS, add_deliveries, add_subscription, set_status
from benchmarks.fill import fill_ledger
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target, Violation
from benchmarks.side import THOUSAND
from benchmarks.usage import cpu_seconds
from tests.support.process import ServiceProcess

AT_ONCE = 64
RATE = "events_per_second"
DEADLINE_SECONDS = 120
INTERVAL_SECONDS = 0.5
PAUSE_SECONDS = 0.07
EVENTS = 30


@dataclass(kw_only=True)
class Sink:
    """The receiver of a side."""

    process: ServiceProcess

    def times(self) -> list[tuple[str, float]]:
        """The received messages, by message id and the monotonic clock."""
        return [(one, at) for one, at in httpx.get(f"{self.process.url}/stats").json()]

    def wait_for(self, posts: int) -> list[tuple[str, float]]:
        """The received messages, once there are `posts` of them.

        Raises:
            Violation: when there are more, or they do not come.
        """
        ends_at = time.monotonic() + DEADLINE_SECONDS
        while len(times := self.times()) < posts:
            if time.monotonic() > ends_at:
                raise Violation(f"{len(times)} of {posts} deliveries came")
            time.sleep(0.2)
        if len(times) > posts:
            raise Violation(f"{len(times)} deliveries came of {posts}")
        return times

    def reset(self) -> None:
        """Forget the received messages."""
        httpx.get(f"{self.process.url}/reset")


@dataclass(kw_only=True)
class DispatchSide:
    """The service with a backlog of deliveries, two of each file."""

    bench: Bench
    store: PostgresStore
    service: ServiceProcess
    sink: Sink
    subscription_id: UUID

    def __call__(self) -> Figures:
        """Measure once, from the first delivery to the last."""
        rows = self.bench.plan.delivery_rows
        fill_ledger(self.store, rows, processed=True)
        add_deliveries(self.store, self.subscription_id, rows)
        self.sink.reset()
        service, postgres = cpu_seconds(self.service.pid), cpu_seconds(self.bench.postgres.pid)
        set_status(self.store, self.subscription_id, "active")
        moments = [at for _, at in self.sink.wait_for(rows)]
        self._wait_until_settled()
        set_status(self.store, self.subscription_id, "paused")
        return {
            RATE: (rows - 1) / (moments[-1] - moments[0]),
            "service_cpu_seconds_per_1000": (cpu_seconds(self.service.pid) - service) / rows * THOUSAND,
            "postgres_cpu_seconds_per_1000": (cpu_seconds(self.bench.postgres.pid) - postgres) / rows * THOUSAND,
        }

    def _wait_until_settled(self) -> None:
        while self.store.row("SELECT count(*) FROM deliveries WHERE status <> 'delivered'") != (0,):
            time.sleep(0.1)


@dataclass(kw_only=True)
class LoopSide:
    """As many POSTs by httpx, in a process of its own, to the same kind of receiver."""

    bench: Bench
    store: PostgresStore
    sink: Sink

    def __call__(self) -> Figures:
        """Measure once."""
        rows = self.bench.plan.delivery_rows
        self.sink.reset()
        url = f"{self.sink.process.url}/hook"
        said = json.loads(self.bench.python("benchmarks.post_loop", self.store, url, str(rows), str(AT_ONCE)))
        self.sink.wait_for(rows)
        return {RATE: rows / said["seconds"], "service_cpu_seconds_per_1000": said["cpu_seconds"] / rows * THOUSAND}


@dataclass(kw_only=True)
class DelaySide:
    """Single events with pauses: the time from the 201 to the receiver."""

    bench: Bench
    service: ServiceProcess
    sink: Sink

    def __call__(self) -> Figures:
        """Measure once."""
        self.sink.reset()
        confirmed: dict[str, float] = {}
        with httpx.Client(base_url=self.service.url, headers={"Authorization": f"Bearer {self.bench.token}"}) as client:
            for _ in range(EVENTS):
                event = {"file_id": str(uuid4()), "event_type": "upload"}
                response = client.post("/sync-events", json=event).raise_for_status()
                confirmed[response.json()["event_id"]] = time.monotonic()
                time.sleep(PAUSE_SECONDS)
        delays = [(at - confirmed[message_id]) * 1000 for message_id, at in self.sink.wait_for(EVENTS)]
        return {"p50_ms": median(delays), "max_ms": max(delays)}


def interval() -> Figures:
    """The interval of the sweep."""
    return {"p50_ms": INTERVAL_SECONDS * 1000}


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """A service that delivers a backlog, one that has little to do, and httpx."""
    with ExitStack() as stack:
        stores = [stack.enter_context(bench.postgres_store()) for _ in range(2)]
        sinks = [Sink(process=stack.enter_context(bench.sink(stores[0]))) for _ in range(3)]
        urls = [f"{sink.process.url}/hook" for sink in sinks]
        busy_id = add_subscription(stores[0], urls[0], max_concurrency=AT_ONCE, status="paused")
        add_subscription(stores[1], urls[1], max_concurrency=AT_ONCE)
        busy = stack.enter_context(bench.service(stores[0], **ALONE, **SETTINGS))
        seconds = str(INTERVAL_SECONDS)
        quiet = stack.enter_context(bench.service(stores[1], **QUIET, SYNC_EVENT_PROCESS_INTERVAL=seconds, **SETTINGS))
        yield {
            "dispatch": DispatchSide(
                bench=bench, store=stores[0], service=busy, sink=sinks[0], subscription_id=busy_id
            ),
            "httpx": LoopSide(bench=bench, store=stores[0], sink=sinks[2]),
            "delay": DelaySide(bench=bench, service=quiet, sink=sinks[1]),
            "interval": interval,
        }


EXPERIMENT = Experiment(
    name="webhooks",
    open=open_sides,
    rows=(
        Row(
            name="webhooks",
            work=f"deliveries of a backlog, PostgreSQL, 1 worker, {AT_ONCE} at once",
            compared="a bare loop of POSTs by httpx to the same receiver",
            unit="deliveries/s",
            ours=Pick("dispatch", RATE),
            baseline=Pick("httpx", RATE),
            target=Target(kind="at least", bound=0.6),
            limit="Python on the worker's one core: HTTP, claims and settlements",
        ),
        Row(
            name="webhooks-delay",
            work="time from a 201 until the event is delivered, at low load: the median",
            compared="the interval of the sweep",
            unit="ms",
            ours=Pick("delay", "p50_ms"),
            baseline=Pick("interval", "p50_ms"),
            target=Target(kind="at most", bound=50),
            comparison="difference",
            limit="the wait for the sweep, half of its interval on average",
        ),
    ),
)
