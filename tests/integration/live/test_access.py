"""A socket lasts as long as its user's access, and no longer."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from backend.bootstrap import sockets as sockets_module
from backend.core.config import Settings
from backend.core.db.database import Database, database_url
from backend.features.accounts.models import User as Row
from backend.features.live.events import Topic
from backend.features.live.sockets import LiveSockets
from tests.fakes.chats import FakeReader
from tests.integration.live.conftest import Live, Refused, User, serve, until

CHAT = uuid.UUID(int=1)
ENDED = "your access was ended"


async def test_logging_out_cuts_that_sessions_sockets_at_once(live: Live, eve: User) -> None:
    other = await live.login("eve@example.org")
    ends, stays = await live.client(eve.token), await live.client(other.token)
    live.reader.share(CHAT, eve.id)
    await ends.ask("join_chat", chat_id=str(CHAT))
    async with live.http(eve.token) as http:
        assert (await http.post("/auth/logout")).status_code == 204
    assert ENDED in (await ends.until_heard("ended"))["error"]
    await ends.until_cut()
    assert stays.socket.connected
    await until(lambda: not live.container.bus.is_watched(Topic.chat(CHAT)))


async def test_a_suspended_user_loses_every_socket_at_once_and_gets_no_new_one(
    live: Live, admin: User, eve: User, bob: User
) -> None:
    clients = [await live.client(eve.token) for _ in range(3)]
    other = await live.client(bob.token)
    async with live.http(admin.token) as http:
        reply = await http.patch(f"/admin/users/{eve.id}", json={"is_active": False})
        assert reply.status_code == 200
    for client in clients:
        await client.until_heard("ended")
        await client.until_cut()
    assert other.socket.connected
    with pytest.raises(Exception, match="no longer valid"):
        await live.client(eve.token)


async def test_a_revoked_key_loses_its_socket_at_once(live: Live, eve: User) -> None:
    async with live.http(eve.token) as http:
        made = (await http.post("/keys", json={"name": "socket"})).json()
        by_key, by_token = await live.client(made["key"]), await live.client(eve.token)
        assert (await http.delete(f"/keys/{made['id']}")).status_code == 204
    await by_key.until_heard("ended")
    await by_key.until_cut()
    assert by_token.socket.connected


async def test_connecting_counts_as_a_request_and_staying_does_not(live: Live, eve: User) -> None:
    async with live.http(eve.token) as http:
        key = (await http.post("/keys", json={"name": "rare", "requests_per_minute": 1})).json()["key"]
    client = await live.client(key)
    for member in live.sockets._members:
        for _ in range(3):
            await live.sockets._look_over(member)
    assert client.socket.connected
    with pytest.raises(Exception, match="1 requests a minute"):
        await live.client(key)


async def test_a_new_credential_takes_the_place_of_the_old_one(live: Live, eve: User, bob: User) -> None:
    client = await live.client(eve.token)
    again = await live.login("eve@example.org")
    assert "another user" in (await client.ask("renew", token=bob.token))["error"]
    assert "not valid here" in (await client.ask("renew", token="wrong"))["error"]  # noqa: S106
    assert "must be" in (await client.ask("renew"))["error"]
    assert await client.ask("renew", token=again.token) == {"ok": True}
    async with live.http(eve.token) as http:
        await http.post("/auth/logout")
    for member in live.sockets._members:
        await live.sockets._look_over(member)
    for _ in range(10):  # long enough to be cut by what ended
        assert await client.ask("leave_chat", chat_id=str(CHAT)) == {"ok": True}
        await asyncio.sleep(0.1)
    async with live.http(again.token) as http:
        await http.post("/auth/logout")
    await client.until_cut()


@pytest.fixture
async def watchful(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    """A gateway that looks over its sockets twenty times a second instead of every minute."""
    monkeypatch.setattr(sockets_module, "LiveSockets", partial(LiveSockets, look_seconds=0.05))
    async with serve(settings, FakeReader()) as served:
        yield served


async def test_what_changes_elsewhere_is_seen_when_sockets_are_looked_over(watchful: Live, tmp_path: Path) -> None:
    owner = await watchful.container.accounts.own.create_admin("eve@example.org", "a long and rare phrase")
    eve = await watchful.login("eve@example.org")
    client = await watchful.client(eve.token)
    watchful.reader.share(CHAT, eve.id)
    await client.ask("join_chat", chat_id=str(CHAT))
    watchful.reader.is_away = True
    assert watchful.rooms(client) == {f"chat:{CHAT}"}
    watchful.reader.is_away = False
    watchful.reader.readers.clear()
    await client.until_heard("left_chat")
    other = Database(database_url(None, tmp_path / "data"))
    async with other.transaction() as transaction:
        await transaction.execute(update(Row).where(Row.id == owner.id).values(is_active=False))
    await other.aclose()
    assert client.socket.connected
    watchful.container.accounts.sessions.known.forget_all()  # as it is within the minute
    await client.until_cut()


async def test_a_front_end_opens_no_socket_in_its_users_name(live: Live, admin: User, eve: User) -> None:
    async with live.http(admin.token) as http:
        body = {"name": "front", "permissions": ["models:use", "users:delegate"]}
        key = (await http.post("/keys", json=body)).json()["key"]
    served = {"x-openwebui-user-email": "eve@example.org"}
    with pytest.raises(Refused, match="no front end does it"):
        await live.client(key, headers=served)
    own = await live.client(eve.token, headers=served)
    assert "no front end does it" in (await own.ask("renew", token=key))["error"]
    assert [member.principal.is_forwarded for member in live.sockets._members] == [False]
