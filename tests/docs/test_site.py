"""The navigation of the documentation site has every page; `make site` checks their links."""

import runpy
from pathlib import Path

from tests.conftest import ROOT

CONF = runpy.run_path(str(ROOT / "docs" / "site" / "conf.py"))


def test_every_page_has_its_place() -> None:
    named = [page for pages in CONF["NAVIGATION"].values() for page in pages]
    assert len(named) == len(set(named))
    pages = {path.relative_to(ROOT) for pattern in CONF["include_patterns"] for path in ROOT.glob(pattern)}
    decisions = {path for path in pages if path.parent == Path("docs/adr") and path.name != "README.md"}
    assert {Path(f"{name}.md") for name in [CONF["root_doc"], *named]} == pages - decisions
