"""Every link between the pages leads somewhere, and the picture can be drawn."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.docs.markdown import PAGES, anchors, links, name


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    assert [name(page) for page in PAGES if page not in linked and page != ROOT / "README.md"] == []


def test_the_picture_is_whole_and_says_what_it_shows() -> None:
    root = ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot()  # noqa: S314 - our own file
    svg = "{http://www.w3.org/2000/svg}"
    described = {element.get("id") for element in root if element.tag in {f"{svg}title", f"{svg}desc"}}
    assert set(root.get("aria-labelledby", "").split()) == described
    text = "".join(root.itertext())
    assert "prefers-color-scheme: dark" in text
    assert "://" not in text  # nothing is loaded from elsewhere
