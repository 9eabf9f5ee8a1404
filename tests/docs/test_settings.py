"""The tables of settings are what `make docs` writes, and hold every setting."""

import pytest

from app.config import Settings
from docs.generate_settings import BEGIN, END, groups, main, replace_tables
from tests.conftest import ROOT
from tests.docs.markdown import README, rows, section

PAGE = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def test_the_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check"])
    assert (status, capsys.readouterr().err) == (0, "")


def test_every_setting_is_listed_once() -> None:
    listed = [cells[0] for cells in rows((ROOT / "docs" / "settings.md").read_text())]
    assert listed == [f"`{name.upper()}`" for name in Settings.model_fields]
    assert sum(len(names) for _title, names in groups()) == len(listed)


def test_the_readme_has_the_variables_of_every_deployment() -> None:
    shown = {cells[0].strip("`"): cells[1] for cells in rows(section(README, "Settings"))}
    assert shown["DATABASE_URL"] == "`sqlite:///./sync.db`"
    assert {"AUTH0_DOMAIN", "API_AUDIENCE", "ALGORITHMS", "SECRET_KEY", "ENVIRONMENT"} <= set(shown)


def test_only_what_stands_between_the_markers_is_written() -> None:
    written = replace_tables(PAGE, "| new |\n")
    assert written == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    assert replace_tables(written, "| new |\n") == written


@pytest.mark.parametrize("page", ["no markers", f"{BEGIN}\n only one", PAGE + PAGE])
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="each marker once"):
        replace_tables(page, "")
