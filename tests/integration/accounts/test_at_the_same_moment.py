"""What two do at the same moment ends as if one had come first."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import make_url, text

from backend.core.db.database import Database
from backend.core.errors import NotAuthenticated, NotPermitted, StoreUnavailable
from backend.features.accounts.administration import UserChange
from backend.features.accounts.service import Stranger
from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR, Permission, Principal
from tests.fixtures.databases import PostgresServer
from tests.integration.accounts.conftest import PASSWORD, Side

NEW_PASSWORD = "quite another phrase"  # noqa: S105
BOB = "bob@example.org"
_SOON = 0.3


@pytest.mark.parametrize("what", ["new password", "suspended"])
async def test_no_session_that_begins_meanwhile_outlives_what_ends_all(
    admin: Side, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, accounts = await admin.make_user(BOB), admin.container.accounts
    user_id = uuid.UUID(bob["id"])
    begin, changes = accounts.sessions.begin, list[asyncio.Task[Any]]()

    async def begin_while_it_changes(*arguments: Any) -> Any:
        operator = Caller(OPERATOR)
        change = (
            accounts.users.reset_password(operator, user_id, NEW_PASSWORD)
            if what == "new password"
            else accounts.users.update(operator, user_id, UserChange(is_active=False))
        )
        changes.append(asyncio.create_task(change))  # type: ignore[arg-type]
        await asyncio.wait(changes, timeout=_SOON)  # where it could come between, it is done by now
        return await begin(*arguments)

    monkeypatch.setattr(accounts.sessions, "begin", begin_while_it_changes)
    grant = await accounts.own.login(Stranger("192.0.2.1", "test"), BOB, PASSWORD)
    await asyncio.wait_for(changes[0], 10)
    await accounts.users.update(Caller(OPERATOR), user_id, UserChange(is_active=True))
    with pytest.raises(NotAuthenticated):
        await accounts.sessions.refresh(grant.refresh_token, "test", "")


async def test_who_became_an_administrator_meanwhile_keeps_their_password(
    admin: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob, accounts = await admin.make_user(BOB), admin.container.accounts
    user_id = uuid.UUID(bob["id"])
    helper = Caller(Principal("helper", frozenset(Permission) - {Permission.READ_AUDIT}))
    hashing = accounts.users._passwords.hash

    async def promote_and_hash(password: str) -> str:
        await accounts.users.update(Caller(OPERATOR), user_id, UserChange(role="admin"))
        return await hashing(password)

    monkeypatch.setattr(accounts.users._passwords, "hash", promote_and_hash)
    with pytest.raises(NotPermitted, match="permissions you lack"):
        await accounts.users.reset_password(helper, user_id, NEW_PASSWORD)
    await admin.login(BOB)


async def test_a_password_that_was_reset_meanwhile_stays(admin: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    bob, own = await admin.make_user(BOB), admin.container.accounts.own
    user_id = uuid.UUID(bob["id"])
    verify, users = own._passwords.verify, admin.container.accounts.users

    async def verify_and_reset(password: str, kept: str | None) -> Any:
        verdict = await verify(password, kept)
        await users.reset_password(Caller(OPERATOR), user_id, NEW_PASSWORD)
        return verdict

    monkeypatch.setattr(own._passwords, "verify", verify_and_reset)
    with pytest.raises(NotPermitted):
        await own.change_password(Caller(OPERATOR), user_id, PASSWORD, "a thief's own phrase")
    monkeypatch.undo()
    await admin.login(BOB, NEW_PASSWORD)


@pytest.mark.parametrize("missing", ["database", "user", "server"])
async def test_a_database_server_that_lets_nobody_in_is_a_503(postgres: PostgresServer, missing: str) -> None:
    url = make_url(postgres.url("postgres")).set(drivername="postgresql+asyncpg")
    urls = {
        "database": url.set(database="not_there"),
        "user": url.set(username="nobody_here"),
        "server": url.update_query_dict({"host": str(postgres.folder / "not-there")}),
    }
    database = Database(urls[missing])
    try:
        with pytest.raises(StoreUnavailable):
            await database.ping()
    finally:
        await database.aclose()


async def test_a_connection_that_is_ended_on_the_server_is_a_503(postgres: PostgresServer) -> None:
    url = make_url(postgres.url("postgres")).set(drivername="postgresql+asyncpg")
    database = Database(url)
    try:
        with pytest.raises(StoreUnavailable):
            async with database.transaction() as session:
                await session.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        await database.ping()
    finally:
        await database.aclose()
