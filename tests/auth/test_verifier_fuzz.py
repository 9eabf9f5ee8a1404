"""Whatever is sent as a token, the answer is a principal or a refusal, and never another error."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.auth.dependencies import TokenVerifier
from app.auth.token import Principal, TokenRejected
from tests.auth.clock import FakeClock
from tests.support.tokens import TokenFactory, sign

MakeVerifier = Callable[..., TokenVerifier]
Edit = tuple[int, str, str]

fuzz = settings(
    max_examples=75,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the verifier keeps nothing that matters here
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
claims = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "scope", "permissions", "azp"]), values, max_size=4
)
parameters = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5u", "zip", "cty"]), values, max_size=3
)
edits = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=2000),
        st.sampled_from(["insert", "replace", "delete"]),
        st.characters() | st.sampled_from("AQgw-_.=+/ {\n"),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
async def verifier(make_verifier: MakeVerifier, tokens: TokenFactory, clock: FakeClock) -> TokenVerifier:
    """A verifier that has its keys, as a good token proves."""
    verifier = make_verifier()
    await verifier.verify(tokens.token(now=clock()))
    return verifier


async def outcome(verifier: TokenVerifier, token: str) -> Principal | None:
    try:
        return await verifier.verify(token)
    except TokenRejected:
        return None


def edited(token: str, changes: list[Edit]) -> str:
    characters = list(token)
    for position, kind, character in changes:
        place = position % len(characters)
        characters[place : place + (kind != "insert")] = "" if kind == "delete" else character
    return "".join(characters)


@fuzz
@given(changes=edits)
async def test_every_changed_token_is_refused(
    changes: list[Edit], verifier: TokenVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    good = tokens.token(now=clock())
    changed = edited(good, changes)
    assume(changed != good)
    assert await outcome(verifier, changed) is None


@fuzz
@given(header=parameters, payload=claims)
async def test_well_signed_nonsense_is_judged(
    header: dict[str, Any],
    payload: dict[str, Any],
    verifier: TokenVerifier,
    tokens: TokenFactory,
    clock: FakeClock,
) -> None:
    token = sign({**tokens.header(), **header}, {**tokens.claims(now=clock()), **payload}, tokens.key.signer())
    principal = await outcome(verifier, token)
    if not header and not payload:
        assert principal is not None
    if principal is not None:
        assert principal.subject.isprintable()
        assert all(isinstance(scope, str) for scope in principal.scopes)


@fuzz
@given(raw=st.binary(max_size=60), spoil_header=st.booleans())
async def test_well_signed_bytes_are_refused(
    raw: bytes, spoil_header: bool, verifier: TokenVerifier, tokens: TokenFactory, clock: FakeClock
) -> None:
    header, payload = (raw, tokens.claims(now=clock())) if spoil_header else (tokens.header(), raw)
    assert await outcome(verifier, sign(header, payload, tokens.key.signer())) is None


@fuzz
@given(token=st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){2}"))
async def test_any_text_is_refused(token: str, verifier: TokenVerifier) -> None:
    assert await outcome(verifier, token) is None
