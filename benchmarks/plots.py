"""Draws results: throughput beside the baselines, and latency."""

from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.model import Results, RowResult
from benchmarks.report import ROOT

FOLDER = ROOT / "docs"
THROUGHPUT = FOLDER / "performance-throughput.png"
LATENCY = FOLDER / "performance-latency.png"
PERCENTILES = {"p50_ms": "50 %", "p90_ms": "90 %", "p99_ms": "99 %", "p999_ms": "99.9 %"}
OURS, OTHER = "#1f6feb", "#b8c0cc"


def draw(results: Results) -> list[Path]:
    """Write the plots and return where they are; one whose rows were not measured is left out."""
    rates = [row for row in results.rows if row.unit.endswith("/s")]
    drawn = []
    if rates:
        drawn.append(_save(_throughput(rates), THROUGHPUT))
    if "half-peak" in results.rounds:
        drawn.append(_save(_latency(results), LATENCY))
    return drawn


def _throughput(rows: list[RowResult]) -> Figure:
    """One pair of bars a row, as the ratio of ours to the other, whose median is 1; the target is a line."""
    figure = Figure(figsize=(9, 1 + 0.7 * len(rows)), layout="constrained")
    axes: Axes = figure.subplots()
    places = range(len(rows))
    values = [row.value for row in rows]
    axes.barh([place - 0.2 for place in places], values, 0.4, color=OURS, label="the service")
    axes.barh([place + 0.2 for place in places], [1.0] * len(rows), 0.4, color=OTHER, label="compared with")
    for place, row in zip(places, rows, strict=True):
        rates = f"{median(row.ours):,.0f} : {median(row.baseline):,.0f} {row.unit}"
        axes.annotate(f" {row.value:.2f}  ({rates})", (max(row.value, 1.0), place - 0.2), va="center", fontsize=8)
        if row.target is not None:
            axes.plot([row.target.bound] * 2, [place - 0.45, place + 0.45], color="black")
    axes.set_yticks(list(places), [f"{row.name}\nvs. {row.compared[:44]}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=10 * max(1.0, *values))
    axes.set_xlabel("throughput, as a multiple of the baseline; the black line is the target")
    axes.legend(loc="lower right")
    return figure


def _latency(results: Results) -> Figure:
    """Percentiles of a single POST, at half of the peak load and at all of it."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Axes = figure.subplots()
    for label, experiment in (("half of the peak load", "half-peak"), ("peak load, 64 connections", "post")):
        rounds = results.rounds.get(experiment, [])
        if rounds:
            heights = [median(one["service"][name] for one in rounds) for name in PERCENTILES]
            axes.plot(list(PERCENTILES.values()), heights, marker="o", label=label)
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.set_title("Latency of POST /sync-events on PostgreSQL, one worker")
    axes.grid(visible=True, axis="y", which="both", alpha=0.3)
    axes.legend()
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with mpl.rc_context({"svg.hashsalt": "sync-service"}):
        figure.savefig(path, dpi=120, metadata={"Software": ""})
    return path
