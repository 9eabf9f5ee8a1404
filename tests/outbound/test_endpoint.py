"""The headers of an endpoint: encrypted, changed, and named."""

import pytest
from pydantic import TypeAdapter, ValidationError

from app.outbound.endpoint import (
    MAX_HEADERS,
    HeaderChanges,
    Headers,
    TooManyHeaders,
    change_headers,
    decrypt_headers,
    encrypt_headers,
    list_header_names,
)
from app.outbound.secret import EncryptionKeyMissing, SecretCipher

CIPHER = SecretCipher(["a key of the tests"])
FULL = {f"X-{number}": "x" for number in range(MAX_HEADERS)}


def change(headers: dict[str, str], changes: dict[str, str | None] | None) -> dict[str, str]:
    return decrypt_headers(CIPHER, change_headers(CIPHER, encrypt_headers(CIPHER, headers), changes, "source"))


def test_changes_ignore_the_case_of_names() -> None:
    assert change({"X-A": "1", "X-B": "2"}, {"x-a": "3"}) == {"X-B": "2", "x-a": "3"}
    assert change({"X-A": "1", "X-B": "2"}, {"x-a": None, "X-C": "4"}) == {"X-B": "2", "X-C": "4"}
    assert change({"X-A": "1"}, None) == change({"X-A": "1"}, {"X-A": None}) == {}


def test_headers_without_a_difference_are_not_encrypted_again() -> None:
    stored = encrypt_headers(CIPHER, {"X-A": "1"})
    assert change_headers(CIPHER, stored, {"X-A": "1", "X-B": None}, "source") is stored
    assert encrypt_headers(CIPHER, {}) is change_headers(CIPHER, None, {"X-A": None}, "source") is None


def test_only_the_removal_of_all_headers_needs_no_key() -> None:
    stored, other = encrypt_headers(CIPHER, {"b": "1", "a": "2"}), SecretCipher(["another key"])
    assert list_header_names(CIPHER, stored) == ["a", "b"]
    assert list_header_names(other, stored) is list_header_names(SecretCipher([]), stored) is None
    assert change_headers(other, stored, None, "source") is None
    with pytest.raises(EncryptionKeyMissing):
        change_headers(other, stored, {"a": None}, "source")


def test_there_may_be_as_many_headers_as_the_text_says() -> None:
    assert len(change(FULL, {"x-0": "y"})) == MAX_HEADERS
    with pytest.raises(TooManyHeaders) as refused:
        change(FULL, {"One-more": "y"})
    assert str(refused.value) == "The source would have too many headers."
    expected = f"There may be {MAX_HEADERS} headers"
    assert [one.msg for one in refused.value.errors or ()] == [expected]
    for kind in (Headers, HeaderChanges):
        with pytest.raises(ValidationError, match=expected):
            TypeAdapter(kind).validate_python({**FULL, "One-more": "y"})
