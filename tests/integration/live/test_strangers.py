"""What a stranger, or a member who means ill, cannot do with a socket (SEC-18)."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import httpx
import pytest

from backend.features.live import connections as connections_module
from backend.features.live import members as members_module
from backend.features.live.events import LiveEvent, Topic
from tests.integration.live.conftest import OPERATOR_KEY, PATH, SECONDS, Live, Refused, User, until

MINE, FOREIGN = uuid.UUID(int=1), uuid.UUID(int=2)
NO_CHAT = {"error": "there is no such chat, or you may not read it"}
NO_ID = {"error": "chat_id must be the id of a chat"}
SENTENCES = {
    None: "a valid API key is needed",
    "": "a valid API key is needed",
    "wrong": "this API key is not valid here",
    "eyJhbGciOiJub25lIn0.e30.": "this access token is no longer valid",
    OPERATOR_KEY: "only accounts can listen to chats and documents",
}


@pytest.fixture
async def mallory(live: Live, bob: User) -> User:
    live.reader.share(MINE, bob.id)
    return bob


@pytest.mark.parametrize("token", SENTENCES, ids=str)
async def test_nobody_connects_without_an_account_and_is_told_why(live: Live, token: str | None) -> None:
    with pytest.raises(Refused) as caught:
        await live.client(token)
    assert SENTENCES[token] in str(caught.value)
    assert list(live.sockets._members) == []


@pytest.mark.parametrize(
    "auth", ["text", ["list"], {"token": 1}, {"token": {"a": 1}}, {"token": "é"}, {"token": "a\nb"}]
)
async def test_an_odd_auth_payload_is_refused(live: Live, auth: Any) -> None:
    with pytest.raises(Refused, match=r"must be"):
        await live.client(None, auth=auth)


async def test_two_different_credentials_are_refused(live: Live, eve: User, bob: User) -> None:
    with pytest.raises(Refused, match="two different credentials"):
        await live.client(eve.token, headers={"authorization": f"Bearer {bob.token}"})


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "Authorization"])
async def test_a_token_in_the_query_is_refused_although_it_is_good(
    live: Live, eve: User, transport: str, name: str
) -> None:
    for token in (None, eve.token):
        with pytest.raises(Refused):
            await live.client(token, query=f"?{name}={eve.token}", transports=[transport])
    assert live.sockets.server.eio.sockets == {}


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (str(FOREIGN), NO_CHAT),
        (str(uuid.UUID(int=99)), NO_CHAT),
        ("' or 1=1 --", NO_ID),
        ("00000000-0000-0000-0000-00000000000'", NO_ID),
        ("{00000000-0000-0000-0000-000000000002", NO_ID),
        ("chat:" + str(FOREIGN), NO_ID),
        ("", NO_ID),
        (None, NO_ID),
        (2, NO_ID),
        ([str(FOREIGN)], NO_ID),
        ({"$ne": 1}, NO_ID),
        ("x" * 60_000, NO_ID),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_no_id_opens_a_foreign_room(live: Live, mallory: User, sent: Any, answer: Any) -> None:
    client = await live.client(mallory.token)
    for event in ("join_chat", "typing", "leave_chat"):
        told = await client.ask(event, chat_id=sent, is_typing=True)
        wanted = {"join_chat": answer, "typing": {"error": "join the chat first"}, "leave_chat": {"ok": True}}[event]
        assert told == (NO_ID if answer is NO_ID else wanted)
    assert live.rooms(client) == set()


async def test_nothing_of_a_foreign_stream_is_heard(live: Live, eve: User, mallory: User) -> None:
    live.reader.share(FOREIGN, eve.id)
    reader, stranger = await live.client(eve.token), await live.client(mallory.token)
    assert await reader.ask("join_chat", chat_id=str(FOREIGN)) == {"ok": True}
    assert await stranger.ask("join_chat", chat_id=str(FOREIGN)) == NO_CHAT
    assert await stranger.ask("join_chat", chat_id=str(MINE)) == {"ok": True}
    for number in range(100):
        live.container.bus.publish(LiveEvent(Topic.chat(FOREIGN), "message_delta", {"n": number}))
    live.container.bus.publish(LiveEvent(Topic.chat(MINE), "chat_updated", {}))
    await stranger.until_heard("chat_updated")
    await until(lambda: len(reader.named("message_delta")) == 100)
    assert [name for name, _ in stranger.heard] == ["chat_updated"]


@pytest.mark.parametrize("name", ["nothing", "chat_deleted", "message_delta", "disconnecting", "*", "__proto__"])
async def test_there_are_no_other_events(live: Live, mallory: User, name: str) -> None:
    client, other = await live.client(mallory.token), await live.client(mallory.token)
    for one in (client, other):
        await one.ask("join_chat", chat_id=str(MINE))
    assert "there is no such event" in (await client.ask(name, chat_id=str(MINE)))["error"]
    assert other.heard == []


@pytest.mark.parametrize("fields", [None, "text", 3, [], ["join"], True])
async def test_an_event_without_fields_is_told_so(live: Live, mallory: User, fields: Any) -> None:
    client = await live.client(mallory.token)
    assert "one object" in (await client.socket.call("join_chat", fields, timeout=SECONDS))["error"]


@pytest.mark.parametrize("is_typing", [None, 1, "true", {}])
async def test_typing_is_yes_or_no(live: Live, mallory: User, is_typing: Any) -> None:
    client = await live.client(mallory.token)
    await client.ask("join_chat", chat_id=str(MINE))
    told = await client.ask("typing", chat_id=str(MINE), is_typing=is_typing)
    assert told == {"error": "is_typing must be true or false"}


async def test_a_megabyte_closes_the_socket(live: Live, mallory: User) -> None:
    client = await live.client(mallory.token)
    await client.socket.emit("join_chat", {"chat_id": "x" * 2**20})
    await client.until_cut()
    await until(lambda: list(live.sockets._members) == [])


async def test_a_megabyte_by_polling_is_refused(live: Live) -> None:
    async with httpx.AsyncClient(base_url=live.url, trust_env=False, timeout=SECONDS) as http:
        opened = await http.get(f"{PATH}/", params={"EIO": "4", "transport": "polling"})
        sid = json.loads(opened.text[1:])["sid"]
        query = {"EIO": "4", "transport": "polling", "sid": sid}
        assert (await http.post(f"{PATH}/", params=query, content=b"4" + b"x" * 2**20)).status_code == 413

        async def endless() -> Any:
            for _ in range(3):
                yield b"x" * 1_000

        assert (await http.post(f"{PATH}/", params=query, content=endless())).status_code == 411


async def test_a_thousand_joins_close_the_socket(live: Live, mallory: User) -> None:
    client = await live.client(mallory.token)
    for _ in range(1_000):
        if not client.socket.connected:
            break
        await client.socket.emit("join_chat", {"chat_id": str(MINE)})
    await client.until_cut()
    await until(lambda: list(live.sockets._members) == [])
    assert not live.container.bus.is_watched(Topic.chat(MINE))


async def test_a_socket_has_so_many_rooms(live: Live, mallory: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.features.live.commands.MOST_TOPICS", 3)
    chats = [live.reader.share(uuid.UUID(int=10 + number), mallory.id) for number in range(4)]
    client = await live.client(mallory.token)
    told = [await client.ask("join_chat", chat_id=str(chat)) for chat in chats]
    assert told[:3] == [{"ok": True}] * 3
    assert "leave one first" in told[3]["error"]
    assert len(live.rooms(client)) == 3


async def test_a_user_has_so_many_sockets(
    live: Live, mallory: User, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "MOST_SOCKETS", 2)
    first = await live.client(mallory.token)
    await live.client(mallory.token)
    with pytest.raises(Refused, match="close one and try again"):
        await live.client(mallory.token)
    await live.client(eve.token)
    await first.socket.disconnect()
    await until(lambda: len(live.sockets._members.of_user(mallory.id)) == 1)
    await live.client(mallory.token)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://chat.example.evil.example", "http://chat.example"]
)
async def test_a_foreign_page_opens_no_socket_whatever_it_shows(live: Live, eve: User, origin: str) -> None:
    for transport in ("websocket", "polling"):
        with pytest.raises(Refused):
            await live.client(eve.token, headers={"origin": origin}, transports=[transport])
    assert live.sockets.connections is None


@pytest.mark.parametrize("origin", ["https://chat.example", "http://localhost:3000"])
async def test_a_page_of_ours_does(live: Live, eve: User, origin: str) -> None:
    for transport in ("websocket", "polling"):
        client = await live.client(eve.token, headers={"origin": origin}, transports=[transport])
        assert client.socket.connected


async def raw(live: Live, *messages: str | bytes) -> aiohttp.ClientWebSocketResponse:
    """Send what no client of the library would; return the socket."""
    session = aiohttp.ClientSession()
    live.sessions.append(session)
    socket = await session.ws_connect(f"{live.url}{PATH}/?EIO=4&transport=websocket")
    assert (await socket.receive_str()).startswith("0{")
    for message in messages:
        await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
    return socket


async def said_until_closed(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """Return what came until the connection was closed."""
    async with asyncio.timeout(SECONDS):
        return [str(message.data) async for message in socket]


BEFORE_AUTH = {
    "an event": '42["join_chat",{"chat_id":"00000000-0000-0000-0000-000000000001"}]',
    "an event with an answer": '420["join_chat",{"chat_id":"00000000-0000-0000-0000-000000000001"}]',
    "an answer": "431[1]",
    "bytes": b"\x04x",
    "an event with bytes": '4599999999-["join_chat",{"_placeholder":true,"num":0}]',
    "no message": "4" + "[" * 50_000,
    "a wrong connect": "40{",
    "deep": "40" + '{"a":' * 10_000,
}


@pytest.mark.parametrize("message", BEFORE_AUTH.values(), ids=BEFORE_AUTH.keys())
async def test_whoever_sends_before_connecting_is_closed(live: Live, message: str | bytes) -> None:
    said = await said_until_closed(await raw(live, message))
    assert not any(text.startswith(("43", "42")) for text in said)
    assert not live.container.bus.is_watched(Topic.chat(MINE))
    assert list(live.sockets._members) == []


@pytest.mark.parametrize("message", [*BEFORE_AUTH.values()][2:6], ids=[*BEFORE_AUTH][2:6])
async def test_what_is_no_event_of_ours_closes_a_member(live: Live, mallory: User, message: str | bytes) -> None:
    if message == "431[1]":
        message = '42{"no":"list"}'
    socket = await raw(live, "40" + json.dumps({"token": mallory.token}))
    assert (await socket.receive_str()).startswith("40{")
    await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))
    await said_until_closed(socket)
    await until(lambda: list(live.sockets._members) == [])


async def test_whoever_shows_no_credential_is_closed_after_a_while(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "CONNECT_SECONDS", 0.2)
    assert await said_until_closed(await raw(live)) == ["1"]
    assert (await said_until_closed(await raw(live, "40")))[0].startswith("44{")


async def test_a_namespace_of_somebody_elses_is_refused(live: Live, mallory: User) -> None:
    socket = await raw(live, "40/admin," + json.dumps({"token": mallory.token}))
    assert (await socket.receive_str()).startswith("44/admin,")
    await socket.close()


async def test_strangers_do_not_fill_the_gateway(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "MOST_CONNECTIONS", 2)
    sockets = [await raw(live) for _ in range(2)]
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await raw(live)
    for socket in sockets:
        await socket.close()
        await until(lambda: live.sockets.connections is not None and not live.sockets.connections._paces)
    await raw(live)


async def test_a_socket_that_does_not_close_is_cut(live: Live, mallory: User) -> None:
    socket = await raw(live, "40" + json.dumps({"token": mallory.token}))
    assert (await socket.receive_str()).startswith("40{")
    transport: Any = socket._conn.transport if socket._conn is not None else None
    live.container.bus.disconnect_user(mallory.id)
    await until(transport.is_closing)
