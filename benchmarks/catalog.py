"""Every experiment there is, in the order of the table."""

from benchmarks.experiments import (
    batch,
    catch_up,
    get,
    growth,
    half_peak,
    memory,
    post,
    sqlite,
    sweep,
    webhooks,
    workers,
)
from benchmarks.model import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    post.EXPERIMENT,
    workers.EXPERIMENT,
    sqlite.EXPERIMENT,
    batch.EXPERIMENT,
    sweep.EXPERIMENT,
    get.EXPERIMENT,
    catch_up.EXPERIMENT,
    webhooks.EXPERIMENT,
    half_peak.EXPERIMENT,
    memory.EXPERIMENT,
    growth.EXPERIMENT,
)
