"""An OpenID Connect provider on loopback, with keys of its own, that says what a test wants it to say."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "passerelle", "s3cret of the gateway/1"


class LoginProvider:
    """The provider; use as a context manager."""

    def __init__(self) -> None:
        self.key: RSAKey | ECKey = ECKey.generate_key("P-256", {"kid": "one"})
        self.claims: dict[str, Any] = {}
        """What the next tokens say besides, or instead."""
        self.document: dict[str, Any] = {}
        """What the discovery document says besides, or instead."""
        self.asked: list[str] = []
        self.forms: list[Mapping[str, str]] = []
        self.status = 200
        """What every route answers with."""
        self._codes: dict[str, Mapping[str, str]] = {}

    def __enter__(self) -> Self:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._answer(self, owner._documents().get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                owner.forms.append(form)
                owner._answer(self, owner._token(form, self.headers.get("authorization", "")))

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def approve(self, url: str, **person: Any) -> dict[str, str]:
        """Let a person log in at the address the gateway sent them to; return what they bring back."""
        assert url.startswith(f"{self.issuer}/authorize?")
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}
        assert (asked["client_id"], asked["response_type"]) == (CLIENT_ID, "code")
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        self.claims.update(person)
        return {"code": code, "state": asked["state"]}

    def id_token(self, nonce: str, **claims: Any) -> str:
        """Return a token as this provider signs it."""
        now = int(time.time())
        said = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "person-1",
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            **self.claims,
            **claims,
        }
        header = {"alg": "ES256" if isinstance(self.key, ECKey) else "RS256", "kid": self.key.kid}
        return jwt.encode(header, said, self.key)

    def _documents(self) -> dict[str, Any]:
        described = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.document,
        }
        keys = {"keys": [self.key.as_dict(private=False)]}
        return {"/realm/.well-known/openid-configuration": described, "/realm/keys": keys}

    def _token(self, form: Mapping[str, str], authorization: str) -> dict[str, Any] | None:
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        expected = base64.b64encode(b"passerelle:s3cret+of+the+gateway%2F1").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return None
        if authorization != f"Basic {expected}":
            assert form["client_secret"] == CLIENT_SECRET
        return {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])}

    def _answer(self, handler: BaseHTTPRequestHandler, body: object) -> None:
        self.asked.append(handler.path)
        status = self.status if body is not None else 400
        content = json.dumps(
            body if status == 200 else {"error": "invalid_grant", "error_description": "LEAK"}
        ).encode()
        handler.send_response(status)
        if 300 <= status < 400:
            handler.send_header("location", f"{self.issuer}/keys")
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
