"""Real signing keys, and tokens signed with them, down to those that no library would make."""

import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jose import jwk
from jose.backends.base import Key

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class SigningKey:
    """A key pair with its name and its algorithm."""

    key_id: str
    algorithm: str
    private: PrivateKey = field(repr=False)

    @classmethod
    def rsa(cls, key_id: str, *, bits: int = 2048, algorithm: str = "RS256") -> "SigningKey":
        return cls(key_id, algorithm, rsa.generate_private_key(public_exponent=65537, key_size=bits))

    @classmethod
    def elliptic(cls, key_id: str) -> "SigningKey":
        return cls(key_id, "ES256", ec.generate_private_key(ec.SECP256R1()))

    def public_jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as a JWK with `changes`; a change to None takes the member away."""
        public = jwk.construct(self.private.public_key(), self.algorithm)  # type: ignore[arg-type]  # the stubs do not know cryptography's keys
        numbers = public.to_dict()
        texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in numbers.items()}
        members = {"kid": self.key_id, "use": "sig", **texts, **changes}
        return {name: value for name, value in members.items() if value is not None}

    def named(self, key_id: str) -> "SigningKey":
        """The same key under another name."""
        return SigningKey(key_id, self.algorithm, self.private)

    def public_pem(self) -> str:
        """The public key as PEM (RFC 7468, section 13)."""
        encoded = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return encoded.decode()

    def signer(self) -> Key:
        """The private key as python-jose wants it."""
        return jwk.construct(self.private, self.algorithm)  # type: ignore[arg-type]  # the stubs do not know cryptography's keys


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(header: bytes | dict[str, Any], payload: bytes | dict[str, Any], signer: Key) -> str:
    """A token with a good signature over any header and payload; bytes are taken as they are."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signed = ".".join(base64url(part) for part in parts)
    return f"{signed}.{base64url(signer.sign(signed.encode()))}"


@dataclass(frozen=True)
class TokenFactory:
    """Makes tokens that are good in every respect, but for what the arguments change."""

    issuer: str
    audience: str
    key: SigningKey

    def claims(self, *, now: float | None = None, **changes: Any) -> dict[str, Any]:
        """Claims that are good for an hour from `now`; a change to None takes the claim away."""
        now = time.time() if now is None else now
        good = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "chunker@clients",
            "iat": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def header(self, *, key: SigningKey | None = None, **changes: Any) -> dict[str, Any]:
        """The header that belongs to `key`; a change to None takes the parameter away."""
        key = key or self.key
        good = {"alg": key.algorithm, "typ": "JWT", "kid": key.key_id}
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(
        self,
        *,
        key: SigningKey | None = None,
        header: dict[str, Any] | None = None,
        now: float | None = None,
        **claims: Any,
    ) -> str:
        """A signed token with changed `claims`, and `header` parameters changed likewise."""
        key = key or self.key
        return sign(self.header(key=key, **(header or {})), self.claims(now=now, **claims), key.signer())
