"""The pages of a source of kind `contract`, as they are kept."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.consistency.sources.contract import _read_page
from app.consistency.sources.request import read_uuid


@pytest.mark.parametrize("compared", [{}, {"size": 1, "sha256": "ab" * 32, "blocks": ["a"], "position": 7}])
def test_members_that_are_not_compared_are_not_kept(compared: dict[str, Any]) -> None:
    item = {"file_id": str(uuid4()), **compared}
    [(_, kept)] = _read_page(json.dumps({"items": [{**item, "thumbnail": "x" * 10_000}]}).encode(), None).items
    assert kept == item


def test_the_fast_uuid_is_one_of_python() -> None:
    texts = sorted(str(uuid4()) for _ in range(5))
    ours, theirs = [read_uuid(text, "file_id") for text in texts], [UUID(text) for text in texts]
    assert all(isinstance(one, UUID) for one in ours)
    assert [(hash(one), one.int, str(one)) for one in ours] == [(hash(one), one.int, str(one)) for one in theirs]
    assert ours == theirs
    assert theirs == ours
    assert dict.fromkeys(ours).keys() == dict.fromkeys(theirs).keys()
    assert sorted([*ours[::2], *theirs[1::2]]) == sorted([*theirs[::2], *ours[1::2]]) == theirs
