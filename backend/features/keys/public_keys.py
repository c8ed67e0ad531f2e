"""Registering, listing and removing public keys, with which the `ollama` command signs its requests."""

import uuid
from collections.abc import Callable
from datetime import datetime

from backend.core.db.database import Database
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, NotFound, NotPermitted
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.keys.models import PublicKey
from backend.features.keys.repository import PublicKeys, owner_of
from backend.features.keys.stores import SIGNED, DatabaseIdentities, key_of

MAX_PUBLIC_KEYS = 50


class PublicKeyService:
    """Public keys of accounts.

    Args:
        database: keeps them.
        audit: is told what changed.
        store: recognises them; forgets at once what is removed here.
        now: the time, with its zone.
    """

    def __init__(
        self, database: Database, audit: AuditLog, store: DatabaseIdentities, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit = audit
        self._store = store
        self._now = now
        self._public_keys = PublicKeys()

    async def page(self, query: PageQuery, owner_id: uuid.UUID | None = None) -> Page[PublicKey]:
        """List public keys, of one user or of all."""
        async with self._database.reading() as reading:
            return await self._public_keys.page(reading, self._public_keys.listed(owner_id), query)

    async def create(self, caller: Caller, owner_id: uuid.UUID, name: str, blob: str) -> PublicKey:
        """Register a checked public key for a user."""
        if key_of(caller.principal) is not None:
            # It would be good for all models, from everywhere and for good, whatever the bounds of the caller's key.
            raise NotPermitted("a key cannot register public keys; log in for that")
        row = PublicKey(user_id=owner_id, name=name, blob=blob, created_at=self._now())
        async with self._database.transaction() as transaction:
            owner = await owner_of(transaction, owner_id)
            if owner is None or not owner.is_active:
                raise NotFound("there is no such user, or their account is suspended")
            if await self._public_keys.is_known(transaction, blob):
                raise Conflict("this public key is registered already")
            if await self._public_keys.count(transaction, owner_id) >= MAX_PUBLIC_KEYS:
                raise Conflict(f"an account may have {MAX_PUBLIC_KEYS} public keys; remove one first")
            await self._public_keys.add(transaction, row)
            permits = sorted(SIGNED & frozenset(owner.role.permissions))
            subject = Subject("public_key", row.id, owner_id)
            await self._audit.record(
                transaction, caller, "public_key.create", subject, {"name": name, "permissions": permits}
            )
        return row

    async def remove(self, caller: Caller, public_key_id: uuid.UUID, owner_id: uuid.UUID | None = None) -> None:
        """Remove a public key, a user's or anybody's; requests signed with it are refused at once in this process."""
        async with self._database.transaction() as transaction:
            row = await self._public_keys.get(transaction, public_key_id)
            if row is None or (owner_id is not None and row.user_id != owner_id):
                raise NotFound("there is no such public key")
            subject = Subject("public_key", row.id, row.user_id)
            await self._audit.record(transaction, caller, "public_key.delete", subject, {"name": row.name})
            await self._public_keys.remove(transaction, row)
        self._store.known.forget(row.blob)
