"""Where credentials are known: two ports, and the stores that hold what the settings say."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from backend.features.auth.principal import CALLER, Permission, Principal

_ID_LENGTH = 12


class KeyStore(Protocol):
    """Knows API keys.

    `find` is asked once per request, with whatever a stranger sent: it must not tell by its timing how much of a key
    was right (look up by hash), must not keep or log what it is given, and answers None for a key it does not know, one
    that has expired, one that may not be used from where it comes, and one whose owner may no longer call.
    """

    async def find(self, secret: str, peer: str = "") -> Principal | None:
        """Return who shows this key.

        Args:
            secret: the key.
            peer: the address at the other end of the connection itself, never one that a header names; "" when it has
                none.
        """
        ...


class IdentityStore(Protocol):
    """Knows callers by the public keys they registered.

    `find` is asked before the signature is checked, so its answer proves nothing yet.
    """

    async def find(self, public_key: str) -> Principal | None:
        """Return whose key this is, given as base64 of SSH's form."""
        ...


class UserStore(Protocol):
    """Knows accounts by the email that a front end gives of its user."""

    async def find(self, email: str) -> Principal | None:
        """Return who has an account with this email, which may be any text; raise `NotAuthenticated` when suspended."""
        ...


class SettingsKeys:
    """The API keys of the settings, each with what it permits; only their hashes are kept."""

    def __init__(self, keys: Mapping[str, frozenset[Permission]]) -> None:
        self._principals = {_digest(key): Principal(_short_id(key), permits) for key, permits in keys.items()}

    async def find(self, secret: str, peer: str = "") -> Principal | None:  # noqa: ARG002 (good from everywhere)
        """Return who shows this key."""
        return self._principals.get(_digest(secret))


class SettingsIdentities:
    """The public keys of the settings; their callers may use models."""

    def __init__(self, public_keys: Iterable[str]) -> None:
        self._principals = {key: Principal(_short_id(key), CALLER) for key in public_keys}

    async def find(self, public_key: str) -> Principal | None:
        """Return whose key this is."""
        return self._principals.get(public_key)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _short_id(key: str) -> str:
    return _digest(key).hex()[:_ID_LENGTH]
