"""The measurements of a run, and the results for each row of the table."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, computed_field

if TYPE_CHECKING:
    from benchmarks.bench import Bench

Figures = Mapping[str, float]
Side = Callable[[], Figures]
Round = dict[str, Figures]


class Violation(Exception):
    """The service broke a promise while it was measured; the run fails."""


class Pick(NamedTuple):
    """One figure of one side."""

    side: str
    figure: str


class Target(BaseModel):
    """The target of a row's comparison."""

    kind: Literal["at least", "at most"]
    bound: float

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value >= self.bound if self.kind == "at least" else value <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the table: one figure compared with another of the same round.

    `limit` says what limits the figure. Without a `target` the row only informs.
    """

    name: str
    work: str
    compared: str
    unit: str
    ours: Pick
    baseline: Pick
    limit: str
    target: Target | None = None
    comparison: Literal["ratio", "difference"] = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """Sides that are measured in turn, round by round, and the rows that follow from them.

    `open` sets the sides up and takes them down; each call of a side is one measurement. `rounds` overrides the plan's.
    """

    name: str
    rows: tuple[Row, ...]
    open: Callable[["Bench"], AbstractContextManager[Mapping[str, Side]]]
    rounds: int | None = None


class RowResult(BaseModel):
    """A row with the figures of every round. `value` is the median of the rounds' ratios (or differences)."""

    name: str
    work: str
    compared: str
    unit: str
    comparison: Literal["ratio", "difference"]
    limit: str
    target: Target | None
    ours: list[float]
    baseline: list[float]

    @classmethod
    def of(cls, row: Row, rounds: list[Round]) -> "RowResult":
        """The result of `rounds` for `row`."""
        return cls(
            name=row.name,
            work=row.work,
            compared=row.compared,
            unit=row.unit,
            comparison=row.comparison,
            limit=row.limit,
            target=row.target,
            ours=[one[row.ours.side][row.ours.figure] for one in rounds],
            baseline=[one[row.baseline.side][row.baseline.figure] for one in rounds],
        )

    @computed_field  # type: ignore[prop-decorator]  # pydantic's documented order of decorators
    @property
    def value(self) -> float:
        """The comparison of each round, and its median."""
        pairs = zip(self.ours, self.baseline, strict=True)
        return median(ours - base if self.comparison == "difference" else ours / base for ours, base in pairs)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        return None if self.target is None else self.target.is_met(self.value)


class Results(BaseModel):
    """All results of a run; `rounds` holds every figure by experiment, round and side."""

    date: str
    command: str
    seconds: float
    plan: dict[str, int]
    machine: dict[str, str]
    versions: dict[str, str]
    postgresql_settings: dict[str, str]
    rows: list[RowResult]
    rounds: dict[str, list[dict[str, dict[str, float]]]]
