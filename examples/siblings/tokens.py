"""Bearer tokens of the siblings: verified with Auth0's keys, or with the secret of local mode."""

import os
import ssl
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx
from fastapi import Depends, HTTPException, Request
from jose import JOSEError, jwt

LOCAL_ISSUER = "sync-service-local"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `sees_all` is true for a service that may read the files of all users."""

    subject: str
    sees_all: bool


@dataclass
class TokenVerifier:
    """Verifies tokens of one audience; an empty `domain` means local mode with `secret`."""

    domain: str
    audience: str
    secret: str = field(repr=False)
    _keys: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls) -> "TokenVerifier":
        """Read AUTH0_DOMAIN, API_AUDIENCE and SECRET_KEY, as Sync Service does."""
        return cls(
            os.environ.get("AUTH0_DOMAIN", ""),
            os.environ.get("API_AUDIENCE", "https://cloud-api.rakai/"),
            os.environ.get("SECRET_KEY", ""),
        )

    def caller(self, token: str) -> Caller:
        """The caller that `token` names.

        Raises:
            JOSEError: the token is invalid or expired.
            httpx.HTTPError: Auth0 cannot be asked for its keys.
        """
        if self.domain:
            keys, algorithm, issuer = self._issuer_keys(), "RS256", f"https://{self.domain}/"
        else:
            keys, algorithm, issuer = self.secret, "HS256", LOCAL_ISSUER
        claims = jwt.decode(token, keys, algorithms=[algorithm], audience=self.audience, issuer=issuer)
        scopes = {*str(claims.get("scope", "")).split(), *claims.get("permissions", ())}
        return Caller(str(claims["sub"]), bool(scopes & {"read:inventory", "admin:sync"}))

    def _issuer_keys(self) -> Any:
        if not self._keys:
            context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
            response = httpx.get(f"https://{self.domain}/.well-known/jwks.json", verify=context, timeout=10)
            self._keys.update(response.raise_for_status().json())
        return self._keys


def _caller(request: Request) -> Caller:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    verifier: TokenVerifier = request.app.state.tokens
    if kind.lower() == "bearer":
        try:
            return verifier.caller(token)
        except (JOSEError, KeyError):
            pass
        except httpx.HTTPError:
            raise HTTPException(503, "The keys of the issuer cannot be fetched.") from None
    raise HTTPException(401, "A valid bearer token is needed.", {"WWW-Authenticate": "Bearer"})


CurrentCaller = Annotated[Caller, Depends(_caller)]
