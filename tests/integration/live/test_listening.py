"""Sockets hear of the chats that their users may read, and of nothing else."""

import uuid

import pytest

from backend.features.live.events import LiveEvent, Topic
from tests.integration.live.conftest import PATH, Live, User, until

CHAT, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


@pytest.mark.parametrize("transports", TRANSPORTS, ids=str)
async def test_a_reader_joins_and_hears_what_happens_in_order(live: Live, eve: User, transports: list[str]) -> None:
    live.reader.share(CHAT, eve.id)
    client = await live.client(eve.token, transports=transports)
    assert await client.ask("join_chat", chat_id=str(CHAT)) == {"ok": True}
    assert live.rooms(client) == {f"chat:{CHAT}"}
    assert live.container.bus.is_watched(Topic.chat(CHAT))
    names = ["message_created", *["message_delta"] * 50, "message_completed"]
    for number, name in enumerate(names):
        live.container.bus.publish(LiveEvent(Topic.chat(CHAT), name, {"number": number}))
    await client.until_heard("message_completed")
    assert client.heard == [(name, {"chat_id": str(CHAT), "number": n}) for n, name in enumerate(names)]


async def test_who_leaves_hears_no_more(live: Live, eve: User) -> None:
    live.reader.share(CHAT, eve.id)
    live.reader.share(OTHER, eve.id)
    client = await live.client(eve.token)
    for chat in (CHAT, OTHER):
        await client.ask("join_chat", chat_id=str(chat))
    assert await client.ask("leave_chat", chat_id=str(CHAT)) == {"ok": True}
    assert live.rooms(client) == {f"chat:{OTHER}"}
    assert not live.container.bus.is_watched(Topic.chat(CHAT))
    live.container.bus.publish(LiveEvent(Topic.chat(CHAT), "chat_updated", {}))
    live.container.bus.publish(LiveEvent(Topic.chat(OTHER), "message_created", {}))
    await client.until_heard("message_created")
    assert client.named("chat_updated") == []


async def test_a_socket_that_is_gone_watches_nothing(live: Live, eve: User) -> None:
    live.reader.share(CHAT, eve.id)
    client = await live.client(eve.token)
    await client.ask("join_chat", chat_id=str(CHAT))
    await client.socket.disconnect()
    await until(lambda: not live.container.bus.is_watched(Topic.chat(CHAT)))
    assert list(live.sockets._members) == []


async def test_typing_is_told_to_the_others_with_who_it_really_is(live: Live, eve: User, bob: User) -> None:
    live.reader.share(CHAT, eve.id, bob.id)
    typist, reader, second = [await live.client(user.token) for user in (eve, bob, eve)]
    for client in (typist, reader, second):
        await client.ask("join_chat", chat_id=str(CHAT))
    spoofed = {"user_id": str(bob.id), "trigramme": "xxx", "origin": "x", "name": "chat_deleted"}
    assert await typist.ask("typing", chat_id=str(CHAT), is_typing=True, **spoofed) == {"ok": True}
    told = {"chat_id": str(CHAT), "user_id": str(eve.id), "trigramme": eve.trigramme, "is_typing": True}
    assert await reader.until_heard("typing") == told
    assert await second.until_heard("typing") == told
    assert typist.heard == []


@pytest.mark.parametrize("carrier", ["auth", "bearer", "x-api-key", "path"])
async def test_a_key_of_an_account_opens_a_socket_whatever_carries_it(live: Live, eve: User, carrier: str) -> None:
    async with live.http(eve.token) as http:
        key = (await http.post("/keys", json={"name": "socket"})).json()["key"]
    headers = {"bearer": {"authorization": f"Bearer {key}"}, "x-api-key": {"x-api-key": key}}.get(carrier)
    path = f"/k/{key}{PATH}" if carrier == "path" else PATH
    token = key if carrier == "auth" else None
    for transports in TRANSPORTS:
        client = await live.client(token, headers=headers, socketio_path=path, transports=transports)
        assert await client.ask("leave_chat", chat_id=str(CHAT)) == {"ok": True}


async def test_a_chat_that_is_no_longer_shared_is_left_at_once(live: Live, eve: User, bob: User) -> None:
    live.reader.share(CHAT, eve.id, bob.id)
    owner, guest = await live.client(eve.token), await live.client(bob.token)
    for client in (owner, guest):
        await client.ask("join_chat", chat_id=str(CHAT))
    live.reader.readers[CHAT] = {eve.id}
    live.container.bus.evict(Topic.chat(CHAT))
    assert (await guest.until_heard("left_chat"))["chat_id"] == str(CHAT)
    assert live.rooms(guest) == set()
    live.container.bus.publish(LiveEvent(Topic.chat(CHAT), "message_created", {}))
    await owner.until_heard("message_created")
    assert guest.named("message_created") == []
    assert "error" in await guest.ask("join_chat", chat_id=str(CHAT))


async def test_whom_the_store_cannot_say_anything_of_is_put_out_when_rights_change(live: Live, eve: User) -> None:
    live.reader.share(CHAT, eve.id)
    client = await live.client(eve.token)
    await client.ask("join_chat", chat_id=str(CHAT))
    live.reader.is_away = True
    assert await client.ask("join_chat", chat_id=str(OTHER)) == {"error": "away"}
    live.container.bus.evict(Topic.chat(CHAT))
    await client.until_heard("left_chat")
    assert live.rooms(client) == set()


async def test_rights_that_change_while_somebody_joins_count(live: Live, eve: User) -> None:
    live.reader.share(CHAT, eve.id)
    client = await live.client(eve.token)

    def unshare() -> None:
        if CHAT in live.reader.readers:
            live.container.bus.evict(Topic.chat(CHAT))

    live.reader.on_ask = unshare
    assert "error" in await client.ask("join_chat", chat_id=str(CHAT))
    assert live.rooms(client) == set()
