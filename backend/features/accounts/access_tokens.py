"""Access tokens: short-lived JWTs that we sign and nobody else does.

One algorithm, every claim required, and a session behind each that must still be alive (`known_sessions`). A token is
looked at only when its size and shape could be ours; nothing in its header is followed.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from backend.features.accounts.known_sessions import KnownSessions
from backend.features.auth.principal import Principal

LIFETIME_SECONDS: Final = 900
_ALGORITHM: Final = "HS256"
_ISSUER = _AUDIENCE = "passerelle"
_TYPE = "access"
_LEEWAY = 10
_MAX_LENGTH = 2_048
_HEADER = {"alg": _ALGORITHM, "typ": "JWT"}
_CLAIMS = ("iss", "aud", "sub", "iat", "nbf", "exp", "jti", "sid", "typ", "ver")


class AccessTokens:
    """Makes access tokens and recognises them; a `KeyStore` for the authenticator.

    Args:
        key: signs them, 32 bytes or more.
        known: the live sessions.
        now: seconds since 1970.
    """

    def __init__(self, key: bytes, known: KnownSessions, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._known = known
        self._now = now

    def issue(self, user_id: uuid.UUID, session_id: uuid.UUID, token_version: int) -> str:
        """Return a token for a session of a user."""
        now = int(self._now())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(user_id),
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": uuid.uuid4().hex,
            "sid": str(session_id),
            "typ": _TYPE,
            "ver": token_version,
        }
        import jwt  # noqa: PLC0415 (cryptography comes with it: 9 MB that a gateway without logins never needs)

        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    async def find(self, secret: str, peer: str = "") -> Principal | None:  # noqa: ARG002 (good from everywhere)
        """Return whose token this is; None for anything that is not a token of ours whose session is alive."""
        claims = self._claims(secret)
        if claims is None:
            return None
        try:
            session_id = uuid.UUID(claims["sid"])
        except (ValueError, TypeError, AttributeError):
            return None
        known = await self._known.find(session_id)
        if known is None or str(known.principal.user_id) != claims["sub"] or known.token_version != claims["ver"]:
            return None
        return known.principal

    def _claims(self, secret: str) -> dict[str, Any] | None:
        if len(secret) > _MAX_LENGTH or not secret.startswith("eyJ") or secret.count(".") != 2:  # noqa: PLR2004
            return None
        import jwt  # noqa: PLC0415 (as in `issue`)

        try:
            token = jwt.decode_complete(
                secret,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                audience=_AUDIENCE,
                leeway=_LEEWAY,
                options={"require": list(_CLAIMS), "strict_aud": True, "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        claims: dict[str, Any] = token["payload"]
        is_ours = token["header"] == _HEADER and claims["typ"] == _TYPE
        return claims if is_ours and claims["exp"] - claims["iat"] == LIFETIME_SECONDS else None
