"""The keys a login provider signs with: fetched when they are needed, kept for an hour.

A token may name a key that is not among them, because the provider has changed keys since; they are fetched again for
that, but not more than once a minute, so that tokens with made-up names make no traffic.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from backend.core.errors import IdentityProviderFailed
from backend.wire.jsontext import UNREADABLE

PublicKey = RSAKey | ECKey | OKPKey

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
"""Signatures that are accepted; each goes with one type of key, so that a token cannot choose how a key is used."""
_FRESH_SECONDS, _PAUSE_SECONDS = 3600.0, 60.0
_MOST_KEYS = 100
_LONGEST_KID = 500
_MODULUS = range(342, 1_367)
"""Characters in base64: 2048 to 8192 bits."""
_UNUSABLE = (JoseError, ValueError, TypeError, KeyError, OverflowError)


@dataclass(frozen=True, slots=True)
class _Known:
    algorithm: str
    kid: str | None
    key: PublicKey


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class SigningKeys:
    """Finds the key a token was signed with.

    Args:
        fetch: returns the provider's key set (JWKS) as it is now.
        clock: seconds that never go back.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._known: list[_Known] = []
        self._fetched_at: float | None = None
        self._turn = asyncio.Lock()

    async def find(self, algorithm: str, kid: str | None) -> PublicKey | None:
        """Return the one key that a token's header means; None when there is none, or several."""
        async with self._turn:
            if self._fetched_at is None or self._clock() - self._fetched_at >= _FRESH_SECONDS:
                await self._load()
            found = self._match(algorithm, kid)
            if found is None and self._clock() - (self._fetched_at or 0.0) >= _PAUSE_SECONDS:
                await self._load()
                found = self._match(algorithm, kid)
            return found

    def _match(self, algorithm: str, kid: str | None) -> PublicKey | None:
        fitting = [known.key for known in self._known if known.algorithm == algorithm and kid in (None, known.kid)]
        return fitting[0] if len(fitting) == 1 else None

    async def _load(self) -> None:
        self._known = list(_read_keys(await self._fetch()))
        self._fetched_at = self._clock()


def _read_keys(body: bytes) -> Iterator[_Known]:
    """Yield the public keys for signatures; others, and what cannot be read, are passed over."""
    try:
        found = msgspec.json.decode(body, type=_KeySet).keys
    except UNREADABLE:
        raise IdentityProviderFailed("the login provider's keys cannot be read; tell the gateway's operator") from None
    for jwk in found[:_MOST_KEYS]:
        algorithm, kid = _algorithm_of(jwk), jwk.get("kid")
        is_for_signatures = jwk.get("use", "sig") == "sig" and jwk.get("alg", algorithm) == algorithm
        if algorithm is None or not is_for_signatures or not (kid is None or isinstance(kid, str)):
            continue
        try:
            yield _Known(algorithm, kid, _import(jwk))
        except _UNUSABLE:
            continue


def _algorithm_of(jwk: Mapping[str, Any]) -> str | None:
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            return "RS256"
        case "EC", "P-256":
            return "ES256"
        case "OKP", "Ed25519":
            return "EdDSA"
    return None


def _import(jwk: Mapping[str, Any]) -> PublicKey:
    """Return a key made of its public numbers alone; whatever else stands beside them is left out."""
    if jwk["kty"] == "RSA":
        if len(jwk["n"]) not in _MODULUS:
            raise ValueError("too short to be safe, or too long to be quick")
        return RSAKey.import_key({"kty": "RSA", "n": jwk["n"], "e": jwk["e"]})
    if jwk["kty"] == "EC":
        return ECKey.import_key({"kty": "EC", "crv": "P-256", "x": jwk["x"], "y": jwk["y"]})
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": jwk["x"]})


def readable_kid(value: object) -> str | None:
    """Return the name of a key as a token's header gives it; raise ValueError for what can be none."""
    if value is None or (isinstance(value, str) and len(value) <= _LONGEST_KID):
        return value
    raise ValueError("not the name of a key")
