"""Which keys of a document are usable, and for what."""

import json
import sys
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.auth.key_set import MAX_KEYS, MalformedKeySetError, parse_key_set
from tests.support.tokens import SigningKey, base64url

RS256 = frozenset({"RS256"})
ALL = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
GOOD = ("good", "RS256")


@pytest.fixture(scope="module")
def good() -> SigningKey:
    return SigningKey.rsa("good")


@pytest.fixture(scope="module")
def elliptic() -> SigningKey:
    return SigningKey.elliptic("curve")


def parse(*entries: Any, algorithms: frozenset[str] = RS256) -> set[tuple[str, str]]:
    return set(parse_key_set(json.dumps({"keys": entries}).encode(), algorithms))


UNUSABLE: dict[str, dict[str, Any]] = {
    "no type": {"kty": None},
    "an unknown type": {"kty": "OKP"},
    "a type that is a number": {"kty": 1},
    "a symmetric key": {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
    "a key for encryption": {"use": "enc"},
    "a use that is a list": {"use": ["sig"]},
    "operations without verify": {"key_ops": ["encrypt"]},
    "operations that are no list": {"key_ops": "verify"},
    "no kid": {"kid": None},
    "an empty kid": {"kid": ""},
    "a kid that is a number": {"kid": 1},
    "a kid of 257 characters": {"kid": "k" * 257},
    "an algorithm that is not allowed": {"alg": "RS512"},
    "a symmetric algorithm": {"alg": "HS256"},
    "an algorithm of another type": {"alg": "ES256"},
    "no algorithm at all": {"alg": "none"},
    "an algorithm that is a list": {"alg": ["RS256"]},
    "no modulus": {"n": None},
    "a modulus that is a number": {"n": 12345},
    "a modulus in other characters": {"n": "!" * 342},
    "a modulus with padding": {"n": "AQAB" * 85 + "AQ=="},
    "a modulus of impossible length": {"n": "A" * 345},
    "an even modulus": {"n": base64url(b"\xff" * 255 + b"\xfe")},
    "a modulus of 2047 bits": {"n": base64url(b"\x7f" + b"\xff" * 255)},
    "a modulus of 16385 bits": {"n": base64url(b"\x01" + b"\xff" * 2048)},
    "no exponent": {"e": None},
    "an exponent of 1": {"e": "AQ"},
    "an even exponent": {"e": "AQAA"},
    "an enormous exponent": {"e": base64url(b"\xff" * 32)},
    "an exponent of 33 bits": {"e": base64url((2**32 + 1).to_bytes(5))},
    "an exponent with other characters": {"e": "AQAB!!!!"},
    "a private half": {"d": "AQAB"},
}


@pytest.mark.parametrize("changes", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_key_is_passed_over(changes: dict[str, Any], good: SigningKey, second_key: SigningKey) -> None:
    spoilt = {**second_key.public_jwk(**changes)}
    assert parse(spoilt, good.public_jwk()) == {GOOD}
    with pytest.raises(MalformedKeySetError, match="no usable key"):
        parse(spoilt)


@pytest.mark.parametrize("entry", [None, 1, "text", [], {}], ids=repr)
def test_an_entry_that_is_no_key_is_passed_over(entry: Any, good: SigningKey) -> None:
    assert parse(entry, good.public_jwk()) == {GOOD}


def test_a_real_rsa_key_of_1024_bits_is_passed_over() -> None:
    with pytest.raises(MalformedKeySetError):
        parse(SigningKey.rsa("small", bits=1024).public_jwk())


@pytest.mark.parametrize("changes", [{"use": None}, {"key_ops": ["verify"]}, {"kid": "k" * 256}, {"x5t": "x"}])
def test_optional_members_may_be_there_or_not(changes: dict[str, Any], good: SigningKey) -> None:
    assert len(parse(good.public_jwk(**changes))) == 1


def test_a_key_that_names_no_algorithm_serves_each_that_fits(good: SigningKey, elliptic: SigningKey) -> None:
    entries = [good.public_jwk(alg=None), elliptic.public_jwk(alg=None)]
    assert parse(*entries, algorithms=ALL) == {
        ("good", "RS256"),
        ("good", "RS384"),
        ("good", "RS512"),
        ("curve", "ES256"),
    }
    assert parse(*entries) == {GOOD}


def test_a_key_that_names_its_algorithm_serves_that_alone(good: SigningKey) -> None:
    assert parse(good.public_jwk(), algorithms=ALL) == {GOOD}


@pytest.mark.parametrize(
    ("curve", "name", "algorithm"),
    [(ec.SECP256R1, "P-256", "ES256"), (ec.SECP384R1, "P-384", "ES384"), (ec.SECP521R1, "P-521", "ES512")],
)
def test_every_curve_has_its_algorithm(curve: Callable[[], ec.EllipticCurve], name: str, algorithm: str) -> None:
    entry = SigningKey("curve", algorithm, ec.generate_private_key(curve())).public_jwk(alg=None)
    assert entry["crv"] == name
    assert parse(entry, algorithms=ALL) == {("curve", algorithm)}
    assert "ecdsa" not in sys.modules, "SECURITY.md says that nothing imports it"


@pytest.mark.parametrize(
    "changes",
    [
        {"crv": "secp256k1"},
        {"crv": None},
        {"crv": ["P-256"]},
        {"crv": "P-384", "alg": None},
        {"alg": "ES384"},
        {"x": None},
        {"y": "AQAB"},
        {"y": base64url(b"\x01" * 32)},
        {"y": base64url(b"\x00" * 33)},
    ],
    ids=repr,
)
def test_an_unusable_elliptic_key_is_passed_over(changes: dict[str, Any], elliptic: SigningKey) -> None:
    with pytest.raises(MalformedKeySetError):
        parse(elliptic.public_jwk(**changes), algorithms=ALL)


def test_the_coordinates_have_the_length_of_the_curve(elliptic: SigningKey) -> None:
    entry = elliptic.public_jwk()
    longer = base64url(b"\0" + urlsafe_b64decode(entry["y"] + "="))
    assert parse(entry, algorithms=ALL) == {("curve", "ES256")}
    with pytest.raises(MalformedKeySetError):
        parse({**entry, "y": longer}, algorithms=ALL)


def test_of_two_keys_with_one_name_the_first_counts(good: SigningKey, second_key: SigningKey) -> None:
    document = json.dumps({"keys": [good.public_jwk(), second_key.public_jwk(kid="good")]}).encode()
    expected = good.public_jwk(kid=None, use=None)
    assert parse_key_set(document, RS256)[GOOD].to_dict() == expected


def test_the_number_of_keys_is_bounded(good: SigningKey) -> None:
    entries = [good.public_jwk(kid=str(number)) for number in range(MAX_KEYS + 1)]
    assert len(parse(*entries[1:])) == MAX_KEYS
    with pytest.raises(MalformedKeySetError):
        parse(*entries)
