"""Whatever a feed may leave out is noticed."""

import pytest

from sync_client import GapError
from sync_client.continuity import check_continuity
from sync_client.models import ChangePage
from tests.client.test_answers import EVENT


def page(first: int, last: int, *positions: int) -> ChangePage:
    changes = [EVENT | {"position": position} for position in positions]
    return ChangePage.model_validate(
        {"changes": changes, "cursor": "c", "has_more": False, "head_position": last}
        | {"from_position": first, "to_position": last}
    )


@pytest.mark.parametrize(
    ("given", "after", "filtered"),
    [
        (page(1, 3, 1, 2, 3), None, False),
        (page(7, 8, 7, 8), None, False),
        (page(4, 5, 4, 5), 3, False),
        (page(4, 3), 3, False),
        (page(1, 5, 1, 2, 3, 4, 5), 3, False),  # the page that a follower was in the middle of
        (page(4, 90, 5, 70), 3, True),
        (page(4, 90, 4, 90), 3, True),
        (page(4, 90), 3, True),
        (page(4, 3), 3, True),
    ],
)
def test_a_whole_page_is_taken(given: ChangePage, after: int | None, filtered: bool) -> None:
    check_continuity(given, after=after, filtered=filtered)


@pytest.mark.parametrize(
    ("given", "after", "filtered", "message"),
    [
        (page(5, 6, 5, 6), 3, False, "left out positions 4 to 4"),
        (page(9, 9), 3, True, "left out positions 4 to 8"),
        (page(1, 2, 1, 2), 3, False, "the ledger ends at position 2, though it had 3"),
        (page(4, 6, 4, 6), 3, False, "gives others"),
        (page(4, 6, 4, 5), 3, False, "gives others"),
        (page(4, 5, 5, 4), 3, False, "gives others"),
        (page(4, 5, 4, 4, 5), 3, False, "gives others"),
        (page(4, 9, 3), 3, True, "do not ascend"),
        (page(4, 9, 10), 3, True, "do not ascend"),
        (page(4, 9, 7, 5), 3, True, "do not ascend"),
        (page(4, 9, 7, 7), 3, True, "do not ascend"),
    ],
)
def test_a_gap_is_an_error(given: ChangePage, after: int | None, filtered: bool, message: str) -> None:
    with pytest.raises(GapError, match=message):
        check_continuity(given, after=after, filtered=filtered)
