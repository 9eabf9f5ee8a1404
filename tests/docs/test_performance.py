"""The page of performance says what the last run found out."""

import pytest

from benchmarks.catalog import EXPERIMENTS
from benchmarks.page import PAGE, render
from benchmarks.report import load_results


def test_the_page_agrees_with_the_results() -> None:
    page = PAGE.read_text()
    assert page == render(page, load_results())


def test_the_rows_are_those_of_the_catalog_in_its_order() -> None:
    measured = {row.name for row in load_results().rows}
    known = [row.name for experiment in EXPERIMENTS for row in experiment.rows]
    assert [name for name in known if name in measured] == [row.name for row in load_results().rows]


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="each marker of table once"):
        render("# Performance", load_results())
