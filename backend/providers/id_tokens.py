"""Reads a login provider's ID tokens, and believes none that is not signed, ours, fresh and of this very login.

The token's header chooses nothing: the algorithm must be on our list and go with the key's type, the key is one the
provider publishes, and an address or a key inside the header is not looked at.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError

from backend.core.errors import NotAuthenticated
from backend.core.identity_provider import Identity
from backend.core.logging import get_logger
from backend.providers.oidc_keys import ALGORITHMS, SigningKeys, readable_kid

_log = get_logger(__name__)
_MAX_LENGTH: Final = 16 * 1024
_MAX_HEADER = 4 * 1024
_LEEWAY_SECONDS = 30
_LONGEST_SUBJECT, _LONGEST_NAME, _LONGEST_EMAIL = 255, 120, 254
_NOT_TRUSTED = "the login provider's answer cannot be trusted; log in again, or tell the gateway's operator"
_UNTRUSTED = (JoseError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class _Registry(jws.JWSRegistry):
    """Knows our algorithms and no other."""

    max_header_length = _MAX_HEADER
    max_payload_length = _MAX_LENGTH

    def get_alg(self, name: str) -> Any:
        """Return an algorithm; the library's own would warn of the name EdDSA, which providers use."""
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError("not an algorithm of ours")
        return self.algorithms[name]


_REGISTRY = _Registry(strict_check_header=False)


class IdTokens:
    """Turns ID tokens into identities.

    Args:
        issuer: who must have made them, to the letter.
        client_id: for whom they must be made.
        keys: what the issuer signs with.
        now: seconds since 1970.
    """

    def __init__(self, issuer: str, client_id: str, keys: SigningKeys, now: Callable[[], float] = time.time) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._keys = keys
        self._now = now

    async def verify(self, token: str, nonce: str) -> Identity:
        """Return whom a token is about; raise `NotAuthenticated` for one that is not to be believed."""
        try:
            claims = await self._claims(token, nonce)
            return _identity(claims)
        except _UNTRUSTED as error:
            _log.warning("id_token_refused", reason=type(error).__name__)
            raise NotAuthenticated(_NOT_TRUSTED) from None

    async def _claims(self, token: str, nonce: str) -> Mapping[str, Any]:
        if len(token) > _MAX_LENGTH:
            raise ValueError("too long")
        signed = jws.extract_compact(token.encode("ascii"), None, _REGISTRY)
        header = signed.headers()
        if header["alg"] not in ALGORITHMS or "crit" in header or header.get("typ", "JWT").upper() != "JWT":
            raise ValueError("not an ID token")
        key = await self._keys.find(header["alg"], readable_kid(header.get("kid")))
        if key is None:
            raise ValueError("signed with a key that is not known")
        checked = jwt.decode(token, key, registry=_REGISTRY)
        options: Any = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._client_id},
            **{name: {"essential": True} for name in ("sub", "exp", "iat", "nonce")},
        }
        claims = CodeIDToken(checked.claims, header, options, {"nonce": nonce, "client_id": self._client_id})
        claims.validate(int(self._now()), _LEEWAY_SECONDS)
        return checked.claims


def _identity(claims: Mapping[str, Any]) -> Identity:
    subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
    if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isascii() or not subject.isprintable():
        raise ValueError("not an id of a person")
    is_verified = claims.get("email_verified") is True and isinstance(email, str) and len(email) <= _LONGEST_EMAIL
    is_name = isinstance(name, str) and len(name) <= _LONGEST_NAME and name.isprintable()
    return Identity(
        issuer=claims["iss"],
        subject=subject,
        verified_email=str(email) if is_verified else None,
        name=str(name).strip() if is_name else "",
    )
