"""Tokens with a good signature over claims that are not as they must be."""

import json
from typing import Any

import pytest

from app.auth.token import ClaimRules, Principal, Reason, TokenRejected, VerifiedToken, check_claims

NOW = 1_800_000_000
LEEWAY = 10
RULES = ClaimRules(issuer="https://issuer/", audience="https://audience/", leeway_seconds=LEEWAY)


def judge(**changes: Any) -> VerifiedToken:
    good = {"iss": RULES.issuer, "aud": RULES.audience, "sub": "someone", "exp": NOW + 60}
    claims = {name: value for name, value in {**good, **changes}.items() if value is not ...}
    return check_claims(encode(claims), RULES, NOW)


def encode(claims: dict[str, Any]) -> bytes:
    members = (f'"{name}": {value if isinstance(value, Raw) else json.dumps(value)}' for name, value in claims.items())
    return f"{{{', '.join(members)}}}".encode()


def reason(**changes: Any) -> Reason:
    with pytest.raises(TokenRejected) as rejected:
        judge(**changes)
    return rejected.value.reason


class Raw(str):
    """JSON that json.dumps would not write."""

    __slots__ = ()


def test_good_claims() -> None:
    assert judge() == VerifiedToken(
        Principal("someone", frozenset(), refused_from=NOW + 60 + LEEWAY), -LEEWAY, NOW + 60
    )
    assert judge(nbf=NOW + 5, iat=NOW - 5).valid_from == NOW - 5
    assert judge(nbf=NOW - 5, iat=NOW + 5).valid_from == NOW - 5


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b"{",
        b'{"a": "\xff"}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"[" * 2500 + b"]" * 2500 + b"}",
        b'{"a":' * 1200 + b"1" + b"}" * 1200,
        b"[" * 6000,
    ],
)
def test_the_payload_is_strict_json(payload: bytes) -> None:
    with pytest.raises(TokenRejected) as rejected:
        check_claims(payload, RULES, NOW)
    assert rejected.value.reason == Reason.MALFORMED


WRONG_NUMBERS: list[Any] = [None, "1800000060", True, [], {}, -1, 253_402_300_800, 1e300, -0.5]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_times_are_sensible_numbers(claim: str, value: Any) -> None:
    assert reason(**{claim: value}) == Reason.CLAIMS


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "9" * 5000, "1" * 21])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_numbers_that_are_none(claim: str, value: str) -> None:
    assert reason(**{claim: Raw(value)}) == Reason.MALFORMED


def test_fractions_of_a_second_are_fine() -> None:
    assert judge(exp=NOW + 0.5, iat=NOW - 0.5).expires_at == NOW + 0.5


@pytest.mark.parametrize("claim", ["exp", "aud", "iss"])
def test_required_claims(claim: str) -> None:
    assert reason(**{claim: ...}) == Reason.CLAIMS


def test_the_leeway_is_exact() -> None:
    assert judge(exp=NOW - LEEWAY + 1)
    assert reason(exp=NOW - LEEWAY) == Reason.EXPIRED
    assert judge(nbf=NOW + LEEWAY)
    assert reason(nbf=NOW + LEEWAY + 1) == Reason.NOT_YET_VALID
    assert judge(iat=NOW + LEEWAY)
    assert reason(iat=NOW + LEEWAY + 1) == Reason.ISSUED_LATER


@pytest.mark.parametrize("audience", ["https://audience/", ["https://audience/"], ["other", "https://audience/"]])
def test_our_audience(audience: Any) -> None:
    assert judge(aud=audience)


@pytest.mark.parametrize(
    "audience",
    ["https://audience", "https://audience//", "https://AUDIENCE/", "https://audience/x", "", [], ["other"]],
    ids=repr,
)
def test_another_audience(audience: Any) -> None:
    assert reason(aud=audience) == Reason.AUDIENCE


@pytest.mark.parametrize("audience", [1, {"https://audience/": 1}, ["https://audience/", 1], [["https://audience/"]]])
def test_an_audience_of_the_wrong_type(audience: Any) -> None:
    assert reason(aud=audience) == Reason.CLAIMS


@pytest.mark.parametrize("issuer", ["https://issuer", "http://issuer/", "https://issuer/.evil/", "", "https://ISSUER/"])
def test_another_issuer(issuer: str) -> None:
    assert reason(iss=issuer) == Reason.ISSUER


@pytest.mark.parametrize("issuer", [1, ["https://issuer/"], None], ids=repr)
def test_an_issuer_of_the_wrong_type(issuer: Any) -> None:
    assert reason(iss=issuer) == Reason.CLAIMS


@pytest.mark.parametrize("subject", ["x", "x" * 255, "auth0|abc", "ü 日本", "a b"])
def test_good_subjects(subject: str) -> None:
    assert judge(sub=subject).principal.subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        ...,
        None,
        1,
        True,
        [],
        "",
        "x" * 256,
        "a\nb",
        "a\tb",
        "\x1b[31m",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "\u202eabc",
    ],
    ids=repr,
)
def test_bad_subjects(subject: Any) -> None:
    assert reason(sub=subject) == Reason.SUBJECT


@pytest.mark.parametrize("subject", [r'"a\u0000"', r'"\ud800"'])
def test_subjects_that_no_text_can_hold(subject: str) -> None:
    assert reason(sub=Raw(subject)) == Reason.MALFORMED


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "read:sync"}, {"read:sync"}),
        ({"scope": " read:sync  write:sync "}, {"read:sync", "write:sync"}),
        ({"scope": ""}, set()),
        ({"scope": "read:sync\twrite:sync"}, {"read:sync\twrite:sync"}),
        ({"permissions": ["admin:sync"]}, {"admin:sync"}),
        ({"permissions": ["read:sync write:sync"]}, {"read:sync write:sync"}),
        ({"scope": "read:sync", "permissions": ["write:sync"]}, {"read:sync", "write:sync"}),
        ({"scope": ["admin:sync"]}, set()),
        ({"scope": {"admin:sync": 1}}, set()),
        ({"permissions": "admin:sync"}, set()),
        ({"permissions": {"admin:sync": 1}}, set()),
        ({"permissions": ["admin:sync", 1]}, set()),
        ({"scope": None, "permissions": None}, set()),
    ],
)
def test_scopes_and_permissions(claims: dict[str, Any], scopes: set[str]) -> None:
    assert judge(**claims).principal.scopes == scopes
