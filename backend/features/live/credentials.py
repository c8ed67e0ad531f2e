"""What a socket shows of its caller: the token of its `auth` payload, or the headers of the request that opened it.

Both end in the form that the `Authenticator` reads, so that a socket is opened by what opens a request, and by two
different credentials no more than that one.
"""

import uuid
from collections.abc import Mapping
from typing import Any

from backend.core.errors import InvalidRequest, NotAuthenticated, NotPermitted
from backend.features.auth.principal import Principal

_NO_ACCOUNT = "log in, or use a key of your account: only accounts can listen to chats and documents"
_FORWARDED = "this is about an account's own chats: its user logs in for them, no front end does it"
_MOST_CHARACTERS = 4_096


def scope_with_token(scope: Mapping[str, Any], token: object) -> dict[str, Any]:
    """Return the request that shows this token in place of any other credential."""
    headers = [(name, value) for name, value in scope["headers"] if name not in (b"authorization", b"x-api-key")]
    return {**scope, "headers": [*headers, _bearer(token)], "extensions": {}}


def scope_of(opened_by: Mapping[str, Any], auth: object) -> dict[str, Any]:
    """Return the request that shows a socket's credential.

    Args:
        opened_by: the ASGI scope of the request that opened the connection; what its query holds is not read.
        auth: what the client gave as `auth`; `{"token": ...}` or nothing.
    """
    scope = {
        "type": "http",
        "method": "GET",
        "path": opened_by["path"],
        "query_string": b"",
        "headers": list(opened_by["headers"]),
        "client": opened_by.get("client"),
        "extensions": dict(opened_by.get("extensions") or {}),
    }
    if auth is None:
        return scope
    if not isinstance(auth, dict):
        raise InvalidRequest('auth must be an object such as {"token": "<access token or API key>"}')
    if auth.get("token") is not None:
        scope["headers"].append(_bearer(auth["token"]))
    return scope


def owner_of(principal: Principal) -> uuid.UUID:
    """Return whose socket this credential opens; raise unless it is an account's own, as `ACCOUNTS` does."""
    if principal.is_forwarded:
        raise NotPermitted(_FORWARDED)
    if principal.user_id is None:
        raise NotAuthenticated(_NO_ACCOUNT)
    return principal.user_id


def _bearer(token: object) -> tuple[bytes, bytes]:
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or len(token) > _MOST_CHARACTERS:
        raise InvalidRequest("token must be an access token or an API key")
    return b"authorization", f"Bearer {token}".encode()
