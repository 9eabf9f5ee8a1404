"""The page of performance says what the last run found out."""

import pytest

from benchmarks.catalog import EXPERIMENTS
from benchmarks.page import PAGE, render
from benchmarks.report import load_results


def test_the_page_agrees_with_the_results() -> None:
    page = PAGE.read_text()
    assert page == render(page, load_results())


def test_every_row_was_measured_or_is_named_as_new() -> None:
    known = [row.name for experiment in EXPERIMENTS for row in experiment.rows]
    measured = [row.name for row in load_results().rows]
    assert measured == [name for name in known if name in measured]
    added = [name for name in known if name not in measured]
    assert not added or f"Added since this run: {', '.join(added)}." in PAGE.read_text()


def test_the_page_is_of_a_whole_run() -> None:
    assert load_results().command == "python -m benchmarks"


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="each marker of table once"):
        render("# Performance", load_results())
