"""An Auth0 tenant's login, as a real HTTPS server: authorization code with PKCE (RFC 7636), and keys."""

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import trustme

from tests.support.tokens import SigningKey, TokenFactory

CODE = "a-code-for-one-use"


class Auth0:
    """Use as a context manager. Every login is allowed at once; `state_of` changes the state that is sent back.

    `asked` has the parameters of the last request for authorization, `tokens` the tokens that were issued.
    """

    def __init__(self, directory: Path, audience: str, scope: str) -> None:
        authority = trustme.CA()
        self.ca_file = directory / "auth0.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self._key = SigningKey.rsa("auth0")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.domain = f"localhost:{self._server.server_port}"
        self._factory = TokenFactory(f"https://{self.domain}/", audience, self._key)
        self._scope = scope
        self.asked: dict[str, str] = {}
        self.tokens: list[str] = []
        self.state_of: Callable[[str], str] = lambda state: state
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def keys(self) -> dict[str, Any]:
        """The key set."""
        return {"keys": [self._key.public_jwk()]}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        self.asked = query
        return f"{query['redirect_uri']}?{urlencode({'code': CODE, 'state': self.state_of(query['state'])})}"

    def exchange(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The response to a code with its verifier."""
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        sound = form["code"] == CODE and form["client_id"] == self.asked["client_id"]
        if not sound or challenge != self.asked["code_challenge"] or form["redirect_uri"] != self.asked["redirect_uri"]:
            return 403, {"error": "invalid_grant", "error_description": "Failed to verify code verifier"}
        token = self._factory.token(scope=self._scope, sub="auth0|operator")
        self.tokens.append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": self._scope}


def _handler(owner: Auth0) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/.well-known/jwks.json":
                self._send(200, owner.keys())
            elif parts.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self._send(302, {}, Location=owner.authorize(query))
            else:
                self._send(404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._send(*owner.exchange(form), Access_Control_Allow_Origin=self.headers.get("Origin", ""))

        def _send(self, status: int, content: dict[str, Any], **headers: str) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_message: Any) -> None:
            """Keep the test output quiet."""

    return Handler
