"""Two versions are compared by the median of their turns."""

from benchmarks.compare import compare_row
from benchmarks.model import RowResult, Target


def _row(ours: float, baseline: float) -> RowResult:
    return RowResult(
        name="row",
        work="work",
        compared="other",
        unit="events/s",
        comparison="ratio",
        limit="limit",
        target=Target(kind="at least", bound=0.5),
        ours=[ours],
        baseline=[baseline],
    )


def test_a_row_says_by_how_much_it_changed_and_whether_its_target_is_still_met() -> None:
    then = [_row(1000, 1000), _row(900, 1000), _row(1100, 1000)]
    now = [_row(400, 1000), _row(450, 1000), _row(990, 1000)]
    assert compare_row(then, now) == ("1,000 events/s", "450 events/s", "0.50", "yes", "no")


def test_a_row_without_a_target_is_not_judged() -> None:
    [row] = [_row(1, 1).model_copy(update={"target": None})]
    assert compare_row([row], [row])[-2:] == ("", "")
