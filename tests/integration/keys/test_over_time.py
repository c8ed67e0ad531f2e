"""What time does to keys, with a clock of our own."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from backend.core.db.database import Database
from backend.core.db.pages import PageQuery
from backend.core.errors import Conflict, NotAuthenticated
from backend.features.accounts.models import Role, User
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR, USER_PERMISSIONS
from backend.features.keys import service as service_module
from backend.features.keys.last_uses import LastUses
from backend.features.keys.scope import KeyDraft
from backend.features.keys.service import KeyService
from backend.features.keys.stores import DatabaseKeys

OWNER = uuid.UUID(int=7)
BY = Caller(OPERATOR)


@dataclass
class Timed:
    """Keys of one user, and a clock."""

    database: Database
    at: datetime = datetime(2026, 11, 21, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.uses = LastUses(self.database, self.now)
        self.store = self.new_store()
        self.keys = KeyService(self.database, AuditLog(self.database), self.store, self.now)

    def new_store(self) -> DatabaseKeys:
        """Return what another process would know the keys with."""
        store = DatabaseKeys(self.database, self.uses, self.now)
        store.known._clock = self.seconds
        return store

    def now(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()

    async def make(self, days: int | None = None, **more: Any) -> tuple[uuid.UUID, str]:
        made = await self.keys.create(BY, OWNER, KeyDraft("x", days, **more))
        return made.row.id, made.key


@pytest.fixture
async def timed(database: Database) -> AsyncIterator[Timed]:
    async with database.transaction() as transaction:
        role = Role(name="people", permissions=sorted(USER_PERMISSIONS))
        transaction.add(User(id=OWNER, email="eve@example.org", trigramme="eve", role=role))
    made = Timed(database)
    yield made
    await made.uses.aclose()


async def test_a_key_ends_on_time_although_it_is_remembered(timed: Timed) -> None:
    _, key = await timed.make(days=1)
    timed.at += timedelta(days=1, seconds=-1)
    assert await timed.store.find(key) is not None
    timed.at += timedelta(seconds=1)
    assert await timed.store.find(key) is None
    assert await timed.new_store().find(key) is None


async def test_the_old_secret_ends_with_the_overlap(timed: Timed) -> None:
    key_id, old = await timed.make()
    new = (await timed.keys.rotate(BY, key_id, OWNER, timedelta(minutes=10))).key
    timed.at += timedelta(minutes=10, seconds=-1)
    assert await timed.store.find(old) == await timed.store.find(new)
    assert await timed.store.find(old) is not None
    timed.at += timedelta(seconds=1)
    assert await timed.store.find(old) is None
    assert await timed.store.find(new) is not None


async def test_an_overlap_does_not_outlive_the_key(timed: Timed) -> None:
    key_id, old = await timed.make(days=1)
    timed.at += timedelta(days=1, minutes=-5)
    new = (await timed.keys.rotate(BY, key_id, OWNER, timedelta(minutes=10))).key
    assert await timed.store.find(old) is not None
    timed.at += timedelta(minutes=5)
    assert [await timed.store.find(key) for key in (old, new)] == [None, None]
    with pytest.raises(Conflict, match="has expired"):
        await timed.keys.rotate(BY, key_id, OWNER, timedelta(0))


async def test_a_revoked_key_ends_elsewhere_within_the_minute(timed: Timed) -> None:
    key_id, key = await timed.make()
    elsewhere = timed.new_store()
    assert await elsewhere.find(key) is not None
    await timed.keys.revoke(BY, key_id)
    assert await timed.store.find(key) is None
    timed.at += timedelta(seconds=60)
    assert await elsewhere.find(key) is None


async def test_a_key_that_is_remembered_costs_no_query(timed: Timed) -> None:
    _, key = await timed.make()
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(timed.database.engine.sync_engine, "before_cursor_execute", count)
    for _ in range(50):
        assert await timed.store.find(key) is not None
    assert len([one for one in statements if "api_keys" in one]) == 1


async def last_use(timed: Timed, key_id: uuid.UUID) -> datetime | None:
    await timed.uses.write()
    return (await timed.keys.get(key_id, OWNER)).last_used_at


async def test_uses_are_written_once_a_minute_and_change_nothing_else(timed: Timed) -> None:
    key_id, key = await timed.make(networks=("192.0.2.0/24",))
    changed = (await timed.keys.get(key_id, OWNER)).updated_at
    assert await timed.store.find(key, "198.51.100.1") is None
    assert await last_use(timed, key_id) is None
    await timed.store.find(key, "192.0.2.1")
    first = timed.at
    assert await last_use(timed, key_id) == first
    timed.at += timedelta(seconds=30)
    await timed.new_store().find(key, "192.0.2.1")
    assert await last_use(timed, key_id) == first
    timed.at += timedelta(seconds=30)
    await timed.store.find(key, "192.0.2.1")
    assert await last_use(timed, key_id) == timed.at
    assert (await timed.keys.get(key_id, OWNER)).updated_at == changed


async def test_uses_are_written_beside_the_request_and_at_the_end(timed: Timed) -> None:
    key_id, key = await timed.make()
    await timed.store.find(key)
    assert (await timed.keys.get(key_id, OWNER)).last_used_at is None
    await timed.uses.aclose()
    assert (await timed.keys.get(key_id, OWNER)).last_used_at == timed.at


async def test_an_account_has_so_many_keys_and_expired_ones_do_not_count(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "MAX_KEYS", 3)
    made = await asyncio.gather(*(timed.make(days=1) for _ in range(6)), return_exceptions=True)
    assert len([one for one in made if isinstance(one, Conflict)]) == 3
    timed.at += timedelta(days=1)
    await timed.make()


async def test_a_key_that_has_ended_elsewhere_makes_no_more_keys(timed: Timed) -> None:
    key_id, key = await timed.make()
    elsewhere = timed.new_store()
    principal = await elsewhere.find(key)
    assert principal is not None
    await timed.keys.revoke(BY, key_id)
    with pytest.raises(NotAuthenticated):
        await timed.keys.create(Caller(principal), OWNER, KeyDraft("x", None))


async def made_by(timed: Timed, key: str) -> tuple[uuid.UUID, str]:
    """Return a new key made with another one."""
    principal = await timed.store.find(key)
    assert principal is not None
    made = await timed.keys.create(Caller(principal), OWNER, KeyDraft("child", None))
    return made.row.id, made.key


async def test_a_key_takes_along_what_was_made_with_it_and_nothing_else(timed: Timed) -> None:
    (first_id, first), (_, other) = await timed.make(), await timed.make()
    child_id, child = await made_by(timed, first)
    _, stranger = await made_by(timed, other)
    _, grandchild = await made_by(timed, child)
    assert (await timed.keys.get(child_id, OWNER)).created_with == first_id
    assert all([await timed.store.find(key) for key in (first, child, grandchild)])
    await timed.keys.revoke(BY, first_id)
    assert [await timed.store.find(key) for key in (first, child, grandchild)] == [None] * 3
    assert all([await timed.store.find(key) for key in (other, stranger)])


async def test_a_key_takes_along_what_was_renewed_with_it(timed: Timed) -> None:
    (thief_id, thief), (mine_id, _), (taken_back_id, _) = [await timed.make() for _ in range(3)]
    principal = await timed.store.find(thief)
    assert principal is not None
    renewed = [
        (await timed.keys.rotate(Caller(principal), key_id, OWNER, timedelta(0))).key
        for key_id in (mine_id, taken_back_id, thief_id)
    ]
    taken_back = (await timed.keys.rotate(BY, taken_back_id, OWNER, timedelta(0))).key
    await timed.keys.revoke(BY, thief_id)
    assert [await timed.store.find(key) for key in renewed] == [None] * 3
    assert await timed.store.find(taken_back) is not None


async def test_keys_that_renewed_each_other_end_together(timed: Timed) -> None:
    first_id, first = await timed.make()
    child_id, child = await made_by(timed, first)
    principal = await timed.store.find(child)
    assert principal is not None
    renewed = (await timed.keys.rotate(Caller(principal), first_id, OWNER, timedelta(0))).key
    await timed.keys.revoke(BY, child_id)
    assert [await timed.store.find(key) for key in (renewed, child)] == [None, None]
    async with timed.database.reading() as reading:
        entries = (await reading.execute(text("select object_id from audit_entries where action = 'key.revoke'"))).all()
    assert len(entries) == 2


async def test_a_key_that_is_made_while_its_maker_is_revoked_does_not_outlive_it(timed: Timed) -> None:
    key_id, key = await timed.make()
    principal = await timed.store.find(key)
    assert principal is not None
    made = await asyncio.gather(
        *(timed.keys.create(Caller(principal), OWNER, KeyDraft("child", None)) for _ in range(8)),
        timed.keys.revoke(BY, key_id),
        return_exceptions=True,
    )
    keys = [one.key for one in made if isinstance(one, service_module.NewKey)]
    assert [await timed.store.find(one) for one in keys] == [None] * len(keys)


async def test_an_answer_ends_with_the_expiry_of_its_key(timed: Timed) -> None:
    _, key = await timed.make(days=1)
    principal = await timed.store.find(key)
    assert principal is not None
    assert await timed.store.ended(frozenset({principal})) == set()
    timed.at += timedelta(days=1)
    assert await timed.store.ended(frozenset({principal})) == {principal}


async def test_keys_that_ended_long_ago_are_removed(timed: Timed) -> None:
    (revoked, _), (expired, _), (alive, _), (later, _) = [await timed.make(days=days) for days in (None, 10, None, 100)]
    await timed.keys.revoke(BY, revoked)

    async def listed() -> set[uuid.UUID]:
        return {row.id for row in (await timed.keys.page(PageQuery(), OWNER)).items}

    timed.at += timedelta(days=90)
    await timed.keys.prune()
    assert await listed() == {revoked, expired, alive, later}
    timed.at += timedelta(seconds=1)
    await timed.keys.prune()
    assert await listed() == {expired, alive, later}
    timed.at += timedelta(days=10)
    await timed.keys.prune()
    assert await listed() == {alive, later}
