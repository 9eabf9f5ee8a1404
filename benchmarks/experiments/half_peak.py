"""Latency of single POSTs at half of the peak load: the slowest in a hundred against the median."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks.bench import QUIET, Bench
from benchmarks.experiments.post import CONNECTIONS, single_posts
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target
from benchmarks.side import LoadSide

CORRECTIONS = 2


def slow_down(side: LoadSide) -> float:
    """Let each connection of the side pause so long that half of the peak load results; returns the peak per second."""
    plan, full_load = side.bench.plan, replace(side.load, delay_ms=0)
    side.load = full_load
    peak = side.run(plan.load_seconds).per_second
    cycle_ms = CONNECTIONS / (peak / 2) * 1000
    delay_ms = cycle_ms * 3 / 4
    for _ in range(CORRECTIONS):
        side.load = replace(full_load, delay_ms=max(1, round(delay_ms)))
        rate = side.run(plan.warm_up_seconds).per_second
        delay_ms += cycle_ms - CONNECTIONS / rate * 1000
    side.load = replace(full_load, delay_ms=max(1, round(delay_ms)))
    return peak


@dataclass(kw_only=True)
class HalfPeakSide:
    """Finds the peak, then how long each connection has to pause for half of it, then measures there."""

    side: LoadSide

    def __call__(self) -> Figures:
        """Measure once."""
        peak = slow_down(self.side)
        figures = self.side()
        return {**figures, "peak_per_second": peak, "share_of_peak": figures["events_per_second"] / peak}


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """One service."""
    with bench.postgres_store() as store, bench.service(store, **QUIET) as service:
        side = LoadSide(bench=bench, service=service, store=store, load=single_posts(bench))
        yield {"service": HalfPeakSide(side=side)}


EXPERIMENT = Experiment(
    name="half-peak",
    open=open_sides,
    rows=(
        Row(
            name="p99",
            work="99th percentile of POST one event at half of the peak load",
            compared="its median",
            unit="ms",
            ours=Pick("service", "p99_ms"),
            baseline=Pick("service", "p50_ms"),
            target=Target(kind="at most", bound=5),
            limit="requests that queue behind a commit under way, and for the core that load and service share",
        ),
    ),
)
