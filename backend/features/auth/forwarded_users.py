"""Requests that a front end sends for its users: Open WebUI says in a header who is asking (`clients.md` 5).

Only a key that was made for it (`Principal.serves_others`) is believed; with any other the headers say nothing. Who
holds such a key uses models in anybody's name, and does nothing else with it: what comes out is bounded by the key, by
the user's role and by `_SERVED`. With a secret that is shared with the front end, its signed header alone counts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from backend.core.errors import InvalidRequest, NotAuthenticated, NotPermitted
from backend.features.auth.principal import Permission, Principal
from backend.features.auth.stores import UserStore

EMAIL_HEADER: Final = b"x-openwebui-user-email"
TOKEN_HEADER: Final = b"x-openwebui-user-jwt"

_SERVED = frozenset({Permission.USE_MODELS})
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "open-webui"
_LEEWAY = 30
_MAX_EMAIL, _MAX_TOKEN = 320, 4_096
_TWICE = "the request names its user twice; send one header"
_NO_TOKEN = "the header that names the user is not signed as it should be, or is too old; check the shared secret"  # noqa: S105
_UNKNOWN = "nobody here has an account with the email of this request's user; ask an administrator for one"


class ForwardedUsers:
    """Finds for whom a front end sends a request.

    Args:
        users: the accounts.
        secret: what the front end signs with; None where it names its users without a signature.
        refuses_unknown: whether requests for somebody without an account are refused; else the key stands for itself.
    """

    def __init__(
        self,
        users: UserStore,
        *,
        secret: bytes | None = None,
        refuses_unknown: bool = False,
    ) -> None:
        self._users = users
        self._secret = secret
        self._refuses_unknown = refuses_unknown

    async def serve(self, key: Principal, scope: Mapping[str, Any]) -> Principal:
        """Return whom a request is for: a user within the bounds of the key, or the key itself when it names nobody.

        Raises `NotAuthenticated` for a suspended user and a signature that does not fit, `InvalidRequest` for two
        headers, `NotPermitted` for somebody without an account where those are refused.
        """
        email = self._email(scope)
        if not email:
            return key
        user = await self._users.find(email) if len(email) <= _MAX_EMAIL else None
        if user is not None:
            return _bounded(user, key)
        if self._refuses_unknown:
            raise NotPermitted(_UNKNOWN)
        return key

    def _email(self, scope: Mapping[str, Any]) -> str:
        if self._secret is None:
            return _header(scope, EMAIL_HEADER)
        token = _header(scope, TOKEN_HEADER)
        return self._signed_email(token, self._secret) if token else ""

    def _signed_email(self, token: str, secret: bytes) -> str:
        import jwt  # noqa: PLC0415 (cryptography comes with it: 9 MB for those who use this)

        if len(token) > _MAX_TOKEN:
            raise NotAuthenticated(_NO_TOKEN)
        try:
            claims = jwt.decode(
                token,
                secret,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                leeway=_LEEWAY,
                options={"require": ["iss", "exp", "email"], "verify_aud": False},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise NotAuthenticated(_NO_TOKEN) from None
        email = claims["email"]
        if not isinstance(email, str) or not email.strip():
            raise NotAuthenticated(_NO_TOKEN)
        return email.strip()


def _header(scope: Mapping[str, Any], wanted: bytes) -> str:
    values = [value for name, value in scope["headers"] if name == wanted]
    if len(values) > 1:
        raise InvalidRequest(_TWICE)
    return values[0].decode("utf-8", "replace").strip() if values else ""


def _bounded(user: Principal, key: Principal) -> Principal:
    """Return a user as somebody else's key may call for them."""
    return replace(
        user,
        key_id=key.key_id,
        permissions=user.permissions & key.permissions & _SERVED,
        models=key.models,
        requests_per_minute=key.requests_per_minute,
        tokens_per_day=key.tokens_per_day,
        is_forwarded=True,
        is_bound=True,
    )
