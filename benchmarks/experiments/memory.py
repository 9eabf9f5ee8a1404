"""Memory of the service at peak load: against idle, and its end against its beginning."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.bench import QUIET, Bench
from benchmarks.experiments.post import single_posts
from benchmarks.model import Experiment, Figures, Pick, Row, Side, Target
from benchmarks.side import LoadSide
from benchmarks.usage import resident_mib

SAMPLE_SECONDS = 1
PARTS = 5


@dataclass(kw_only=True)
class MemorySide:
    """Samples the resident memory each second. Of five equal parts of the time, the second and the last count."""

    side: LoadSide

    def __call__(self) -> Figures:
        """Measure once."""
        pid = self.side.service.pid
        idle = resident_mib(pid)
        samples: list[float] = []
        with ThreadPoolExecutor(1) as thread:
            load = thread.submit(self.side.run, self.side.bench.plan.memory_seconds)
            while not load.done():
                samples.append(resident_mib(pid))
                wait([load], SAMPLE_SECONDS)
        part = max(1, self.side.bench.plan.memory_seconds // (PARTS * SAMPLE_SECONDS))
        return {
            "idle_mib": idle,
            "peak_mib": max(samples),
            "early_mib": median(samples[part : 2 * part]),
            "late_mib": median(samples[(PARTS - 1) * part : PARTS * part]),
            "events_per_second": load.result().per_second,
        }


@contextmanager
def open_sides(bench: Bench) -> Iterator[Mapping[str, Side]]:
    """One service, and the large ledger filled beside it if the run needs one."""
    bench.begin_filling()
    with bench.postgres_store() as store, bench.service(store, **QUIET) as service:
        yield {
            "service": MemorySide(side=LoadSide(bench=bench, service=service, store=store, load=single_posts(bench)))
        }


LIMIT = "requests, waiting events and the token cache, all bounded; most of it is code"
EXPERIMENT = Experiment(
    name="memory",
    open=open_sides,
    rounds=1,
    rows=(
        Row(
            name="memory",
            work="highest memory of the service at peak load",
            compared="idle, before",
            unit="MiB",
            comparison="difference",
            ours=Pick("service", "peak_mib"),
            baseline=Pick("service", "idle_mib"),
            target=Target(kind="at most", bound=100),
            limit=LIMIT,
        ),
        Row(
            name="memory-flat",
            work="memory in the last fifth of the time at peak load",
            compared="in the second fifth",
            unit="MiB",
            ours=Pick("service", "late_mib"),
            baseline=Pick("service", "early_mib"),
            target=Target(kind="at most", bound=1.05),
            limit=LIMIT,
        ),
    ),
)
