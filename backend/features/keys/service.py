"""Making, listing, changing, renewing and revoking API keys."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backend.core.db.database import Database, Transaction
from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import Conflict, GatewayError, NotAuthenticated, NotFound, NotPermitted
from backend.core.logging import get_logger
from backend.features.accounts.models import User
from backend.features.accounts.repository import Users
from backend.features.audit.service import AuditLog, Caller, Subject
from backend.features.auth.principal import Principal
from backend.features.keys.format import hint, key_hash, new_key
from backend.features.keys.models import ApiKey
from backend.features.keys.repository import ApiKeys, owner_of
from backend.features.keys.scope import KeyDraft, KeyScope
from backend.features.keys.stores import DatabaseKeys, key_of
from backend.llm.names import parse_name, spelled_out

_log = get_logger(__name__)

MAX_KEYS = 100
"""Keys of one account that may be good at the same time."""

KEPT_AFTER_END = timedelta(days=90)
"""How long a key that was revoked or has expired is still listed."""
_PRUNED_AT_ONCE = 1_000

_CHANGEABLE = ("name", "models", "networks", "requests_per_minute", "tokens_per_day")
_INHERITED = ("permissions", "models", "networks")
_REVOKED = "this key is revoked; make a new one"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key's row and the key itself, which nobody sees again."""

    row: ApiKey
    key: str


class KeyService:
    """Keys of accounts.

    Args:
        database: keeps them.
        audit: is told what changed.
        store: recognises them; forgets at once what changes here.
        now: the time, with its zone.
    """

    def __init__(
        self, database: Database, audit: AuditLog, store: DatabaseKeys, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit = audit
        self._store = store
        self._now = now
        self._keys, self._users = ApiKeys(), Users()

    async def page(self, query: PageQuery, owner_id: uuid.UUID | None = None) -> Page[ApiKey]:
        """List keys, of one user or of all, the revoked ones too."""
        async with self._database.reading() as reading:
            if owner_id is not None and await self._users.get(reading, owner_id) is None:
                raise NotFound("there is no such user")
            return await self._keys.page(reading, self._keys.listed(owner_id), query)

    async def get(self, key_id: uuid.UUID, owner_id: uuid.UUID) -> ApiKey:
        """Return a user's key; raise `NotFound` for any other."""
        async with self._database.reading() as reading:
            return _owned(await self._keys.get(reading, key_id), owner_id)

    async def owner_named(self, email: str) -> uuid.UUID:
        """Return whose account has an email, given in lower case."""
        async with self._database.reading() as reading:
            user = await self._users.by_email(reading, email)
        if user is None:
            raise NotFound(f"nobody has an account with the email {email!r}")
        return user.id

    async def create(self, caller: Caller, owner_id: uuid.UUID, draft: KeyDraft) -> NewKey:
        """Make a key for a user, never wider than their role, nor than the key the caller shows."""
        key = new_key()
        async with self._database.transaction() as transaction:
            owner = await owner_of(transaction, owner_id)
            if owner is None or not owner.is_active:
                raise NotFound("there is no such user, or their account is suspended")
            row = self._row(owner, draft, key)
            bounds = await self._bounds(transaction, caller.principal)
            if bounds is not None:
                creator, scope = bounds
                row.created_with = creator.id
                _inherit(row, creator)
                scope.check_covers(row)
            if await self._keys.count_alive(transaction, owner_id, self._now()) >= MAX_KEYS:
                raise Conflict(f"an account may have {MAX_KEYS} keys at a time; revoke one first")
            await self._keys.add(transaction, row)
            await self._note(transaction, caller, "key.create", row, _told(row))
        return NewKey(row, key)

    async def update(
        self, caller: Caller, key_id: uuid.UUID, owner_id: uuid.UUID, changes: Mapping[str, Any]
    ) -> ApiKey:
        """Change a user's key: the fields that are named, `expires_in_days` counted from now."""
        async with self._database.transaction() as transaction:
            row, scope = await self._changeable(transaction, caller, key_id, owner_id)
            fields = [name for name in _CHANGEABLE if name in changes and changes[name] != getattr(row, name)]
            for name in fields:
                value = changes[name]
                setattr(row, name, _spelled(value, caller.principal.trigramme) if name == "models" else value)
            if "expires_in_days" in changes:
                row.expires_at = self._expiry(changes["expires_in_days"])
                fields.append("expires_at")
            if scope is not None:
                scope.check_covers(row)
            if fields:
                await self._note(transaction, caller, "key.update", row, {"fields": fields})
        self._store.forget(key_id)
        return await self.get(key_id, owner_id)

    async def rotate(self, caller: Caller, key_id: uuid.UUID, owner_id: uuid.UUID | None, overlap: timedelta) -> NewKey:
        """Give a user's or anybody's key a new secret; the old one is good for the overlap, no longer than before."""
        key = new_key()
        async with self._database.transaction() as transaction:
            row, _ = await self._changeable(transaction, caller, key_id, owner_id)
            if row.expires_at is not None and row.expires_at <= self._now():
                raise Conflict("this key has expired; give it a later expiry first, or make a new one")
            row.previous_hash = row.key_hash if overlap else None
            row.previous_until = self._now() + overlap if overlap else None
            row.key_hash, row.hint = key_hash(key), hint(key)
            renewed_with = key_of(caller.principal)
            if renewed_with != row.id:  # whoever holds that one has this secret now
                row.created_with = renewed_with
            details = {"overlap_minutes": int(overlap.total_seconds() // 60)}
            await self._note(transaction, caller, "key.rotate", row, details)
        self._store.forget(key_id)
        return NewKey(row, key)

    async def revoke(self, caller: Caller, key_id: uuid.UUID, owner_id: uuid.UUID | None = None) -> None:
        """End a key, a user's or anybody's, and those made with it, at once in this process.

        One that is revoked already stays so.
        """
        async with self._database.transaction() as transaction:
            row = _owned(await self._keys.get(transaction, key_id), owner_id)
            await owner_of(transaction, row.user_id)  # so that nothing is made with it meanwhile
            row = _owned(await self._keys.locked(transaction, key_id), owner_id)
            ended = [] if row.revoked_at is not None else [row, *await self._keys.made_with(transaction, row)]
            for key in ended:
                key.revoked_at = self._now()
                key.previous_hash = key.previous_until = None
                await self._note(transaction, caller, "key.revoke", key, {"name": key.name})
        self._store.forget(key_id, *(key.id for key in ended))

    async def prune(self) -> None:
        """Remove keys that ended long ago; the audit log still tells of them."""
        try:
            async with self._database.transaction() as transaction:
                await self._keys.prune(transaction, self._now() - KEPT_AFTER_END, _PRUNED_AT_ONCE)
        except GatewayError as error:
            _log.warning("old_keys_kept", reason=error.message)

    def _row(self, owner: User, draft: KeyDraft, key: str) -> ApiKey:
        permissions = None if draft.permissions is None else sorted(draft.permissions)
        lacking = sorted(set(permissions or ()) - set(owner.role.permissions))
        if lacking:
            raise NotPermitted(f"a key cannot have permissions its owner lacks: {', '.join(lacking)}")
        return ApiKey(
            user_id=owner.id,
            name=draft.name,
            key_hash=key_hash(key),
            hint=hint(key),
            permissions=permissions,
            models=_spelled(draft.models, owner.trigramme),
            networks=None if draft.networks is None else list(draft.networks),
            requests_per_minute=draft.requests_per_minute,
            tokens_per_day=draft.tokens_per_day,
            expires_at=self._expiry(draft.expires_in_days),
        )

    async def _changeable(
        self, transaction: Transaction, caller: Caller, key_id: uuid.UUID, owner_id: uuid.UUID | None
    ) -> tuple[ApiKey, KeyScope | None]:
        """Return a user's key that the caller may change, and the bounds of what it may become."""
        row = _owned(await self._keys.locked(transaction, key_id), owner_id)
        if row.revoked_at is not None:
            raise Conflict(_REVOKED)
        bounds = await self._bounds(transaction, caller.principal)
        if bounds is None:
            return row, None
        bounds[1].check_covers(row)
        return row, bounds[1]

    async def _bounds(self, transaction: Transaction, principal: Principal) -> tuple[ApiKey, KeyScope] | None:
        """Return the key that a caller shows as it is in the store, with its bounds; None for any other caller."""
        key_id = key_of(principal)
        if key_id is None:
            return None
        row = await self._keys.get(transaction, key_id)
        if row is None or row.revoked_at is not None or (row.expires_at and row.expires_at <= self._now()):
            raise NotAuthenticated("your key has just ended; use another one")
        return row, KeyScope.of(row)

    def _expiry(self, days: int | None) -> datetime | None:
        return None if days is None else self._now() + timedelta(days=days)

    async def _note(
        self, transaction: Transaction, caller: Caller, action: str, row: ApiKey, details: Mapping[str, Any]
    ) -> None:
        await self._audit.record(transaction, caller, action, Subject("key", row.id, row.user_id), details)


def _inherit(row: ApiKey, creator: ApiKey) -> None:
    """Take over from a key what is not said about the one it makes, which ends with it at the latest."""
    for name in _INHERITED:
        if getattr(row, name) is None:
            setattr(row, name, getattr(creator, name))
    if creator.expires_at is not None:
        row.expires_at = min(row.expires_at or creator.expires_at, creator.expires_at)


def _owned(row: ApiKey | None, owner_id: uuid.UUID | None) -> ApiKey:
    if row is None or (owner_id is not None and row.user_id != owner_id):
        raise NotFound("there is no such key")
    return row


def _spelled(models: Iterable[str] | None, trigramme: str) -> list[str] | None:
    """Return names of models as they are kept: `me/` stands for the owner's namespace, each name is there once."""
    if models is None:
        return None
    names = [spelled_out(name, trigramme).short for name in map(parse_name, models) if name is not None]
    return list(dict.fromkeys(names))


def _told(row: ApiKey) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in (*_CHANGEABLE, "permissions")}
    return {**told, "expires_at": None if row.expires_at is None else row.expires_at.isoformat()}
