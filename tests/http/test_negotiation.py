"""The media types that a header `Accept` names."""

import pytest

from app.http.negotiation import accepts

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([BROWSER], True),
        (["text/html"], True),
        (["application/json, Text/HTML;q=0.1"], True),
        (["application/json", "text/html"], True),
        (["text/html;q=0"], False),
        (["text/html ; q=0.000, */*"], False),
        (["text/html-like"], False),
        (["*/*"], False),
        (["text/*"], False),
        (["application/json"], False),
        ([""], False),
        ([], False),
    ],
)
def test_a_media_type_counts_when_it_is_named_and_not_refused(headers: list[str], expected: bool) -> None:
    assert accepts(headers, "text/html") is expected
