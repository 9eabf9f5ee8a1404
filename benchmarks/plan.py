"""How long and how large a run is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of one run. Durations are in seconds, `…_rows` count events."""

    rounds: int = 3
    warm_up_seconds: int = 1
    load_seconds: int = 2
    backlog_rows: int = 100_000
    copied_batches: int = 100
    delivery_rows: int = 1_000
    memory_seconds: int = 240
    small_rows: int = 10_000
    feed_rows: int = 100_000
    large_rows: int = 5_000_000
    checked_files: int = 100_000
    many_files: int = 1_000_000
    small_offset: int = 9_000
    large_offset: int = 1_000_000
    growth_requests: int = 100
    growth_batches: int = 24


FULL = Plan()
QUICK = Plan(
    backlog_rows=20_000,
    delivery_rows=500,
    feed_rows=20_000,
    memory_seconds=20,
    large_rows=200_000,
    checked_files=20_000,
    many_files=50_000,
    large_offset=100_000,
    growth_requests=50,
    growth_batches=3,
)
