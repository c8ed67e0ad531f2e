"""The keys of the database, for the authenticator.

A text that cannot be a key of ours never reaches the database. What was found is remembered for a minute at most
(`auth.known`); what is revoked, renewed or changed in this process counts at once, and a key that expires ends on time.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from backend.core.db.database import Database
from backend.core.db.tables import utc_now
from backend.features.accounts.models import User
from backend.features.accounts.sessions import principal_for
from backend.features.auth.known import Known
from backend.features.auth.principal import Permission, Principal
from backend.features.keys.format import is_well_formed, key_hash
from backend.features.keys.last_uses import LastUses
from backend.features.keys.models import ApiKey
from backend.features.keys.networks import Network, holds, parse_networks
from backend.features.keys.repository import ApiKeys, PublicKeys
from backend.features.keys.scope import KeyScope, model_keys

SIGNED = frozenset(
    {Permission.USE_MODELS, Permission.MANAGE_MODELS, Permission.WRITE_AGENTS, Permission.PUBLISH_AGENTS}
)
"""What a signed request may do at most: verbs of the `ollama` command. It does not sign bodies."""

_KEY_ID = "key-"
_PUBLIC_KEY_ID = "public-key-"
_BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAI"
"""How every ed25519 public key begins in SSH's form."""


@dataclass(slots=True)
class KnownKey:
    """A key that may be used."""

    principal: Principal
    key_id: uuid.UUID
    networks: tuple[Network, ...] | None
    expires_at: datetime | None
    is_noted: bool = False
    """Whether its use was written down since it was looked up."""


@dataclass(frozen=True, slots=True)
class KnownIdentity:
    """A registered public key."""

    principal: Principal
    public_key_id: uuid.UUID


class DatabaseKeys:
    """The API keys of accounts; a `KeyStore`.

    Args:
        database: keeps them.
        uses: is told when one is used.
        now: the time, with its zone.
    """

    def __init__(self, database: Database, uses: LastUses, now: Callable[[], datetime] = utc_now) -> None:
        self.known: Known[str, KnownKey] = Known(self._load)
        self._database = database
        self._uses = uses
        self._now = now
        self._keys = ApiKeys()

    async def find(self, secret: str, peer: str = "") -> Principal | None:
        """Return who shows this key."""
        if not is_well_formed(secret):
            return None
        known = await self.known.find(key_hash(secret))
        if known is None or (known.expires_at is not None and known.expires_at <= self._now()):
            return None
        if not holds(known.networks, peer):
            return None
        if not known.is_noted:
            known.is_noted = True
            self._uses.note(known.key_id)
        return known.principal

    def forget(self, *key_ids: uuid.UUID) -> None:
        """Ask the store again for keys that have changed."""
        self.known.forget_where(lambda found: found.key_id in key_ids)

    async def ended(self, callers: frozenset[Principal]) -> set[Principal]:
        """Return which callers use a key that is over, or whose owner is suspended; a `Check` of running calls."""
        ids = _ids(callers, _KEY_ID)
        if not ids:
            return set()
        async with self._database.reading() as reading:
            kept = await self._keys.alive(reading, ids.values(), self._now())
        return {caller for caller, key_id in ids.items() if key_id not in kept}

    async def _load(self, hashed: str) -> KnownKey | None:
        async with self._database.reading() as reading:
            found = await self._keys.usable(reading, hashed, self._now())
        if found is None:
            return None
        row, user = found
        ends = [row.expires_at, row.previous_until if row.key_hash != hashed else None]
        until = min((end for end in ends if end is not None), default=None)
        return KnownKey(_principal(row, user), row.id, parse_networks(row.networks), until)


class DatabaseIdentities:
    """The public keys of accounts; an `IdentityStore`."""

    def __init__(self, database: Database) -> None:
        self.known: Known[str, KnownIdentity] = Known(self._load)
        self._database = database
        self._public_keys = PublicKeys()

    async def find(self, public_key: str) -> Principal | None:
        """Return whose key this is."""
        if not public_key.startswith(_BLOB):
            return None
        known = await self.known.find(public_key)
        return None if known is None else known.principal

    async def ended(self, callers: frozenset[Principal]) -> set[Principal]:
        """Return which callers use a public key that was removed; a `Check` of running calls."""
        ids = _ids(callers, _PUBLIC_KEY_ID)
        if not ids:
            return set()
        async with self._database.reading() as reading:
            kept = await self._public_keys.registered(reading, ids.values())
        return {caller for caller, key_id in ids.items() if key_id not in kept}

    async def _load(self, blob: str) -> KnownIdentity | None:
        async with self._database.reading() as reading:
            found = await self._public_keys.usable(reading, blob)
        if found is None:
            return None
        row, user = found
        principal = principal_for(user, f"{_PUBLIC_KEY_ID}{row.id}")
        return KnownIdentity(replace(principal, permissions=principal.permissions & SIGNED, is_bound=True), row.id)


def key_of(principal: Principal) -> uuid.UUID | None:
    """Return the key a caller shows; None for one who is known in another way."""
    return _ids({principal}, _KEY_ID).get(principal)


def _ids(callers: Iterable[Principal], prefix: str) -> dict[Principal, uuid.UUID]:
    """Return the ids of the keys of one kind that callers show."""
    return {
        caller: uuid.UUID(caller.key_id.removeprefix(prefix))
        for caller in callers
        if caller.user_id is not None and caller.key_id is not None and caller.key_id.startswith(prefix)
    }


def _principal(row: ApiKey, user: User) -> Principal:
    owner = principal_for(user, f"{_KEY_ID}{row.id}")
    permits = owner.permissions if row.permissions is None else owner.permissions & frozenset(row.permissions)
    is_made_for_it = row.permissions is not None  # an administrator's ordinary key may do all, but acts for nobody
    return replace(
        owner,
        permissions=permits,
        models=model_keys(row.models),
        requests_per_minute=row.requests_per_minute,
        tokens_per_day=row.tokens_per_day,
        serves_others=is_made_for_it and Permission.DELEGATE in permits,
        is_bound=KeyScope.of(row).is_bound,
    )
