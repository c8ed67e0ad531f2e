"""Callers who sign their requests with a key pair of their own: `ollama` with `OLLAMA_AUTH=1` (`ollama-wire.md` 8.4).

The command signs `METHOD,/path?ts=SECONDS` with `~/.ollama/id_ed25519`: no body, no host. ed25519 is deterministic, so
two requests for the same path in the same second carry the same signature, and the command does send such pairs (`run`
asks `show` twice). A signature can therefore not be good for one request only. It is good for `REPEAT_SECONDS` after it
was first seen: as long as requests of one second take to arrive. After that it is refused, although its time would be
fine for minutes more. Whoever overhears one (TLS is there to prevent that) has those seconds, for that path, with any
body.

What was seen is kept until its time is too old anyway (`signatures`); only signatures that fit are kept, so that
strangers cannot fill the memory.
`docs/decisions/0006-identity-of-callers.md` has the reasons.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from backend.core.errors import NotAuthenticated, NotRegistered
from backend.features.auth.credentials import SignedRequest
from backend.features.auth.principal import Principal
from backend.features.auth.signatures import MemorySignatures, Signatures
from backend.features.auth.stores import IdentityStore

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

REPEAT_SECONDS = 10.0

_KEY_HEAD = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
_KEY_BYTES = 32


class Identities:
    """Tells who signed a request.

    Args:
        stores: the registered public keys, asked in order.
        tolerance_seconds: how far the time of a request may be from ours, either way.
        connect_page: where a caller learns how to register, as a whole URL; None when the gateway has no public one.
        now: Unix time.
        signatures: remembers which were seen, for twice the tolerance; in this process unless told.
    """

    def __init__(
        self,
        stores: Iterable[IdentityStore],
        *,
        tolerance_seconds: float,
        connect_page: str | None,
        now: Callable[[], float],
        signatures: Signatures | None = None,
    ) -> None:
        self._stores = tuple(stores)
        self._tolerance = tolerance_seconds
        self._connect_page = connect_page
        self._now = now
        self._signatures = signatures or MemorySignatures(2 * tolerance_seconds)

    async def identify(self, signed: SignedRequest) -> Principal:
        """Return who signed a request; raise `NotAuthenticated` with what is wrong with it."""
        if signed.seconds is None:
            raise NotAuthenticated("a signed request tells when it was signed, as ?ts=<Unix seconds> and nothing else")
        principal = await self._find(signed.public_key)
        if principal is None:
            raise NotRegistered(
                "your public key is not registered at this gateway; send ~/.ollama/id_ed25519.pub to whoever runs it",
                signin_url=self._connect_url(signed.public_key),
            )
        now = self._now()
        if abs(now - signed.seconds) > self._tolerance:
            raise NotAuthenticated(
                f"the request was signed {abs(round(now - signed.seconds))} s away from the gateway's time; "
                "set the clock of your machine"
            )
        if not _fits(signed):
            raise NotAuthenticated("the signature does not fit the request; a proxy may have changed its path")
        if now - await self._signatures.first_use(signed.public_key, signed.signature, now) > REPEAT_SECONDS:
            raise NotAuthenticated("this signed request was used before; sign a new one")
        return principal

    async def _find(self, public_key: str) -> Principal | None:
        for store in self._stores:
            if (principal := await store.find(public_key)) is not None:
                return principal
        return None

    def _connect_url(self, public_key: str) -> str | None:
        if self._connect_page is None:
            return None
        return f"{self._connect_page}?key={public_key.replace('+', '-').replace('/', '_')}"


def is_public_key(text: str) -> bool:
    """Whether a text is base64 of an ed25519 public key in SSH's form, as in the second word of `id_ed25519.pub`."""
    return _load(text) is not None


def _fits(signed: SignedRequest) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (see `_load`)

    key = _load(signed.public_key)
    if key is None:
        return False
    try:
        key.verify(signed.signature, signed.message)
    except InvalidSignature:
        return False
    return True


def _load(text: str) -> "Ed25519PublicKey | None":
    # The library takes 6 MiB, so it is loaded where public keys are registered and nowhere else; that is at start.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if not blob.startswith(_KEY_HEAD) or len(blob) != len(_KEY_HEAD) + _KEY_BYTES:
        return None
    return Ed25519PublicKey.from_public_bytes(blob[len(_KEY_HEAD) :])
