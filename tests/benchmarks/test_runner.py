"""What a run could not measure has no row."""

from benchmarks.experiments import post
from benchmarks.model import Round
from benchmarks.runner import judge


def test_rows_of_a_side_that_was_not_measured_are_left_out() -> None:
    rounds: dict[str, list[Round]] = {"post": [{"service": {post.RATE: 100.0}, "default": {post.RATE: 90.0}}]}
    assert [(row.name, row.value) for row in judge([post.EXPERIMENT], rounds)] == [("log", 0.9)]
