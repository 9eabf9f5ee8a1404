"""POST of single events with two workers against Fastify with two, with the default log and without."""

from benchmarks.experiments.post import ROUNDS, beside_fastify, open_beside_fastify
from benchmarks.model import Experiment

WORK = "POST one event, PostgreSQL, 2 workers, 64 connections"
LIMIT = "two cores that workers, PostgreSQL and the load generator share"
EXPERIMENT = Experiment(
    name="workers",
    open=open_beside_fastify(2),
    rounds=ROUNDS,
    rows=(
        beside_fastify("workers", "service", f"{WORK}, LOG_LEVEL=WARNING", 0.80, LIMIT),
        beside_fastify("workers-default", "default", f"{WORK}, default settings", 0.76, LIMIT),
    ),
)
