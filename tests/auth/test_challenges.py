"""The challenges are as RFC 6750 says."""

import re

import pytest

from app.auth.token import KeysUnavailable, Reason, Scope, ScopeMissing, TokenRejected


@pytest.mark.parametrize("reason", Reason)
def test_a_description_may_stand_in_a_challenge(reason: Reason) -> None:
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", reason.description)
    assert re.fullmatch(r"[a-z_]+", reason.value)


def test_the_reasons_can_be_told_apart() -> None:
    assert len({reason.description for reason in Reason}) == len(Reason)


def test_no_error_code_without_credentials() -> None:
    rejected = TokenRejected(Reason.MISSING)
    assert (rejected.status, rejected.reason) == (401, Reason.MISSING)
    assert rejected.headers == {"WWW-Authenticate": 'Bearer realm="sync-service"'}


def test_a_bad_token_is_named_as_such() -> None:
    rejected = TokenRejected(Reason.EXPIRED)
    assert rejected.headers == {
        "WWW-Authenticate": 'Bearer realm="sync-service", error="invalid_token", '
        'error_description="The token has expired (exp)."'
    }
    assert str(rejected) == "The token has expired (exp)."


def test_a_missing_scope_is_named() -> None:
    missing = ScopeMissing(Scope.ADMIN)
    assert missing.status == 403
    assert missing.headers == {
        "WWW-Authenticate": 'Bearer realm="sync-service", error="insufficient_scope", scope="admin:sync"'
    }


def test_unavailable_keys_say_when_to_come_back() -> None:
    unavailable = KeysUnavailable(retry_after_seconds=2)
    assert (unavailable.status, unavailable.headers) == (503, {"Retry-After": "2"})
