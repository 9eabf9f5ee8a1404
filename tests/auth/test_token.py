"""Tokens whose form or header is not as it must be, signed with the right key wherever that is possible."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.auth.dependencies import TokenVerifier
from app.auth.token import MAX_TOKEN_BYTES, Reason, TokenRejected
from tests.auth.clock import FakeClock
from tests.support.keyserver import PATH, KeyServer
from tests.support.tokens import SigningKey, TokenFactory, base64url, sign

MakeVerifier = Callable[..., TokenVerifier]


@pytest.fixture
def rejection(make_verifier: MakeVerifier) -> Callable[..., Any]:
    """Verifies a token that must be refused, and tells why it was."""

    async def reject(token: str, **changes: Any) -> Reason:
        with pytest.raises(TokenRejected) as rejected:
            await make_verifier(**changes).verify(token)
        return rejected.value.reason

    return reject


@pytest.fixture
def good(tokens: TokenFactory, clock: FakeClock) -> str:
    return tokens.token(now=clock())


async def test_a_good_token_is_good(make_verifier: MakeVerifier, good: str) -> None:
    assert (await make_verifier().verify(good)).subject == "chunker@clients"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _token: "",
        lambda _token: "..",
        lambda token: token.rpartition(".")[0],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: "." + token.partition(".")[2],
        lambda token: token + ".AAAA",
        lambda token: token + "=",
        lambda token: token + " ",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token.replace(".", ". "),
        lambda token: token + "é",
        lambda token: token + "\ud800",
        lambda token: token + "\0",
        lambda token: token[:-2] + "+/",
        lambda token: token.replace(".", "..", 1),
    ],
)
async def test_the_form_is_strict(spoil: Callable[[str], str], rejection: Any, good: str) -> None:
    assert await rejection(spoil(good)) == Reason.MALFORMED


async def test_a_longer_signature_is_refused(rejection: Any, good: str) -> None:
    assert await rejection(good + "AA") == Reason.SIGNATURE


async def test_the_last_bits_of_the_signature_count(rejection: Any, good: str) -> None:
    twin = good[:-1] + chr(ord(good[-1]) + 1)
    signatures = [base64.urlsafe_b64decode(token.rpartition(".")[2] + "==") for token in (good, twin)]
    assert signatures[0] == signatures[1]
    assert await rejection(twin) == Reason.MALFORMED


async def test_the_size_is_bounded(
    make_verifier: MakeVerifier, rejection: Any, tokens: TokenFactory, clock: FakeClock
) -> None:
    room = MAX_TOKEN_BYTES - len(tokens.token(now=clock(), filler=""))
    fitting = tokens.token(now=clock(), filler="x" * (room // 4 * 3))
    assert MAX_TOKEN_BYTES - 4 <= len(fitting) <= MAX_TOKEN_BYTES
    await make_verifier().verify(fitting)
    assert await rejection(tokens.token(now=clock(), filler="x" * (room // 4 * 3 + 6))) == Reason.TOO_LARGE


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"alg": "RS256", "kid": "first", "alg": "RS256"}',
        b'{"alg": "RS256", "kid": "first", "x": NaN}',
        b'{"alg": "RS256", "kid": "first", "x": "\xff"}',
        b'\xef\xbb\xbf{"alg": "RS256", "kid": "first"}',
        b'{"alg": "RS256", "kid": "\\ud800"}',
        b'{"alg": "RS256", "kid": "first", "x": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"alg": "RS256", "kid": "first", "x": ' + b"9" * 5000 + b"}",
    ],
)
async def test_the_header_is_strict_json(header: bytes, rejection: Any, tokens: TokenFactory, clock: FakeClock) -> None:
    token = sign(header, tokens.claims(now=clock()), tokens.key.signer())
    assert await rejection(token) == Reason.MALFORMED


async def test_the_depth_of_the_header_is_bounded(
    make_verifier: MakeVerifier, rejection: Any, tokens: TokenFactory, clock: FakeClock
) -> None:
    def nested(depth: int) -> str:
        header = b'{"alg": "RS256", "kid": "first", "x": %s%s}' % (b"[" * depth, b"]" * depth)
        return sign(header, tokens.claims(now=clock()), tokens.key.signer())

    await make_verifier().verify(nested(255))
    assert await rejection(nested(256)) == Reason.MALFORMED


@pytest.mark.parametrize("algorithm", [None, "none", "None", "", "HS256", "RS512", "ES256", "rs256", 1, ["RS256"], {}])
async def test_only_allowed_algorithms(algorithm: Any, rejection: Any, tokens: TokenFactory, clock: FakeClock) -> None:
    assert await rejection(tokens.token(now=clock(), header={"alg": algorithm})) == Reason.ALGORITHM


async def test_an_unsigned_token_is_refused(rejection: Any, tokens: TokenFactory, clock: FakeClock) -> None:
    header, payload = tokens.header(alg="none"), tokens.claims(now=clock())
    unsigned = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    assert await rejection(unsigned + ".") == Reason.MALFORMED
    assert await rejection(unsigned + ".AAAA") == Reason.ALGORITHM


async def test_the_public_key_is_no_hmac_secret(
    rejection: Any, tokens: TokenFactory, key: SigningKey, clock: FakeClock
) -> None:
    public = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, payload = tokens.header(alg="HS256"), tokens.claims(now=clock())
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    assert await rejection(f"{signed}.{base64url(signature)}") == Reason.ALGORITHM


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", None])
async def test_the_types_of_an_access_token(
    kind: str | None, make_verifier: MakeVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    await make_verifier().verify(tokens.token(now=clock(), header={"typ": kind}))


@pytest.mark.parametrize(
    "parameters",
    [
        {"typ": "logout+jwt"},
        {"typ": ""},
        {"typ": 1},
        {"typ": ["JWT"]},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": False},
        {"b64": True},
        {"b64": False},
    ],
    ids=repr,
)
async def test_parameters_that_change_the_meaning_are_refused(
    parameters: dict[str, Any], rejection: Any, tokens: TokenFactory, clock: FakeClock
) -> None:
    assert await rejection(tokens.token(now=clock(), header=parameters)) == Reason.HEADER


@pytest.mark.parametrize("key_id", [None, "", "k" * 257, 1, True, ["first"], {"first": 1}], ids=repr)
async def test_a_key_id_is_needed(
    key_id: Any, rejection: Any, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer
) -> None:
    assert await rejection(tokens.token(now=clock(), header={"kid": key_id})) == Reason.KEY_ID
    assert key_server.requests == []


async def test_a_key_that_the_token_brings_along_is_not_used(
    rejection: Any, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer, second_key: SigningKey
) -> None:
    address = f"https://{key_server.domain}/attacker"
    header = {"jwk": second_key.public_jwk(), "jku": address, "x5u": address, "x5c": ["AAAA"]}
    forged = tokens.token(now=clock(), key=second_key.named("first"), header=header)
    assert await rejection(forged) == Reason.SIGNATURE
    assert key_server.requests == [PATH]


async def test_an_unknown_key_is_refused(
    rejection: Any, tokens: TokenFactory, clock: FakeClock, second_key: SigningKey
) -> None:
    assert await rejection(tokens.token(now=clock(), key=second_key)) == Reason.UNKNOWN_KEY


async def test_es256_is_accepted_when_configured(
    make_verifier: MakeVerifier, rejection: Any, tokens: TokenFactory, clock: FakeClock, key_server: KeyServer
) -> None:
    elliptic = SigningKey.elliptic("curve")
    key_server.serve(elliptic)
    token = tokens.token(now=clock(), key=elliptic)
    assert (await make_verifier(algorithms="RS256,ES256").verify(token)).subject == "chunker@clients"
    assert await rejection(token) == Reason.ALGORITHM
    der = token.rpartition(".")[0] + "." + base64url(b"\x30" * 70)
    assert await rejection(der, algorithms="ES256") == Reason.SIGNATURE
