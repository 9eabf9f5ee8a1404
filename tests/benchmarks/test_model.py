"""Rows are judged by the median of what each round says."""

import pytest

from benchmarks.model import Pick, Row, RowResult, Target

ROW = Row(
    name="row",
    work="work",
    compared="other",
    unit="events/s",
    ours=Pick("a", "rate"),
    baseline=Pick("b", "rate"),
    limit="limit",
    target=Target(kind="at least", bound=2),
)
ROUNDS = [{"a": {"rate": ours}, "b": {"rate": other}} for ours, other in ((10.0, 1.0), (30.0, 10.0), (20.0, 10.0))]


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    result = RowResult.of(ROW, [dict(one) for one in ROUNDS])
    assert (result.value, result.met) == (3.0, True)


@pytest.mark.parametrize(("kind", "met"), [("at least", True), ("at most", False)])
def test_a_target_has_a_direction(kind: str, met: bool) -> None:
    target = Target.model_validate({"kind": kind, "bound": 2})
    assert target.is_met(3) is met
    assert target.is_met(2)
