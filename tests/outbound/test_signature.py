"""Signatures, verified by the library that Standard Webhooks publishes."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.outbound.secret import is_secret, new_secret, signed_headers
from sync_client import SignatureRefused
from sync_client.webhooks import verify_signature as verify

BODY = '{"name":"ü"}'.encode()


def now() -> datetime:
    return datetime.now(UTC)  # the library has no clock but this one


def test_secrets_are_random_and_of_32_bytes() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) for secret in secrets} == {32}
    assert all(secret.startswith("whsec_") and is_secret(secret) for secret in secrets)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_AAAA", "whsec_ü", "whsec_" + "?" * 44, new_secret()[6:], "whsec_" + "A" * 88 + "AAAA"],
    ids=["empty", "prefix", "short", "not-ascii", "not-base64", "no-prefix", "long"],
)
def test_what_is_no_secret(text: str) -> None:
    assert not is_secret(text)


def test_the_public_library_verifies_what_is_signed() -> None:
    secret = new_secret()
    headers = signed_headers("0198-a", now(), BODY, [secret])
    assert sorted(headers) == ["webhook-id", "webhook-signature", "webhook-timestamp"]
    assert Webhook(secret).verify(BODY, headers) == {"name": "ü"}


def test_we_verify_what_the_public_library_signs() -> None:
    secret, at = new_secret(), now()
    headers = {
        "webhook-id": "a",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("a", at, BODY.decode()),
    }
    verify(headers, BODY, secret)


def test_every_secret_signs_along() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = signed_headers("a", now(), BODY, [new, old])
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)
        verify(headers, BODY, secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, headers)
    with pytest.raises(SignatureRefused, match="No matching signature"):
        verify(headers, BODY, other)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "1", "x", "-1", "²", "9" * 400, "ÿ"], ids=ascii)
def test_a_header_that_is_missing_or_another_is_refused(name: str, value: str | None) -> None:
    secret, at = new_secret(), now()
    headers = {**signed_headers("a", at, BODY, [secret]), name: value}
    given = {key: text for key, text in headers.items() if text is not None}
    with pytest.raises(SignatureRefused) as refusal:
        verify(given, BODY, secret)
    assert secret not in str(refusal.value)


def test_another_body_is_refused() -> None:
    secret, at = new_secret(), now()
    with pytest.raises(SignatureRefused):
        verify(signed_headers("a", at, BODY, [secret]), BODY + b" ", secret)


def test_a_signature_of_another_version_is_passed_over() -> None:
    secret, at = new_secret(), now()
    headers = signed_headers("a", at, BODY, [secret])
    headers["webhook-signature"] = f"v1a,AAAA v2 {headers['webhook-signature']}"
    verify(headers, BODY, secret)


@pytest.mark.parametrize("minutes", [-6, 6, 60 * 24 * 365])
def test_a_message_of_another_time_is_refused(minutes: int) -> None:
    secret = new_secret()
    for near in (4, -4):
        verify(signed_headers("a", now() + timedelta(minutes=near), BODY, [secret]), BODY, secret)
    with pytest.raises(SignatureRefused, match="Message timestamp too"):
        verify(signed_headers("a", now() + timedelta(minutes=minutes), BODY, [secret]), BODY, secret)
