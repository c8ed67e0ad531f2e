"""Checks the credential of a request against the configured keys."""

import hashlib
from collections.abc import Mapping

from backend.core.errors import NotAuthenticated
from backend.features.auth.principal import ANONYMOUS, Permission, Principal

MIN_KEY_LENGTH = 20
_MAX_CREDENTIAL = 4_096


class Authenticator:
    """Knows the keys by their hashes; a lookup by hash leaks nothing through its timing.

    Args:
        keys: the accepted keys and what each allows; None means that everybody may call.
    """

    def __init__(self, keys: Mapping[str, frozenset[Permission]] | None) -> None:
        self._principals = None if keys is None else {_digest(key): _principal(key, may) for key, may in keys.items()}

    @property
    def requires_key(self) -> bool:
        """Whether callers must show a key."""
        return self._principals is not None

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return who is calling; raise `NotAuthenticated` without a valid key when keys are required."""
        if self._principals is None:
            return ANONYMOUS
        for credential in _credentials(headers):
            if (principal := self._principals.get(_digest(credential))) is not None:
                return principal
        raise NotAuthenticated("a valid API key is needed; send it as 'Authorization: Bearer <key>'")


def _credentials(headers: Mapping[str, str]) -> list[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    found = [token.strip()] if scheme.lower() == "bearer" else []
    found.append(headers.get("x-api-key", "").strip())
    return [credential for credential in found if 0 < len(credential) <= _MAX_CREDENTIAL]


def _principal(key: str, permissions: frozenset[Permission]) -> Principal:
    return Principal(_digest(key)[:12], permissions)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
