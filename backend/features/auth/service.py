"""Checks the credential of a request against the configured keys."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from backend.core.errors import NotAuthenticated
from backend.features.auth.principal import ANONYMOUS, Permission, Principal

MIN_KEY_LENGTH = 20
_MAX_CREDENTIAL = 4_096


class KeyStore(Protocol):
    """Knows credentials of one kind; answers None for what it does not know or what has ended."""

    async def find(self, secret: str) -> Principal | None:
        """Return who shows this credential."""
        ...


class Authenticator:
    """Knows the keys by their hashes; a lookup by hash leaks nothing through its timing.

    Args:
        keys: the accepted keys and what each allows; None means that everybody may call.
        stores: asked in order for what is none of the keys. Where everybody may call, a credential they know still says
            who calls, and any other is ignored.
    """

    def __init__(self, keys: Mapping[str, frozenset[Permission]] | None, stores: Iterable[KeyStore] = ()) -> None:
        self._principals = None if keys is None else {_digest(key): _principal(key, may) for key, may in keys.items()}
        self._stores = tuple(stores)

    @property
    def requires_key(self) -> bool:
        """Whether callers must show a key."""
        return self._principals is not None

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return who is calling; raise `NotAuthenticated` without a valid key when keys are required."""
        for credential in _credentials(headers):
            if self._principals is not None and (principal := self._principals.get(_digest(credential))) is not None:
                return principal
            for store in self._stores:
                if (principal := await store.find(credential)) is not None:
                    return principal
        if self._principals is None:
            return ANONYMOUS
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
