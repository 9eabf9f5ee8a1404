"""All experiments, in the order of the table."""

from benchmarks.experiments import (
    append,
    batch,
    catch_up,
    consistency,
    get,
    growth,
    half_peak,
    memory,
    pgbench,
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
    append.EXPERIMENT,
    pgbench.EXPERIMENT,
    sqlite.EXPERIMENT,
    batch.EXPERIMENT,
    sweep.EXPERIMENT,
    get.EXPERIMENT,
    catch_up.EXPERIMENT,
    webhooks.EXPERIMENT,
    half_peak.EXPERIMENT,
    memory.EXPERIMENT,
    growth.EXPERIMENT,
    *consistency.EXPERIMENTS,
)
