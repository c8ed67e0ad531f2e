"""Two gateways on one database and one Redis: sockets of one hear what happens in the other."""

import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from backend.core.config import Settings
from backend.features.live.events import LiveEvent, Topic
from tests.fakes.chats import FakeReader
from tests.fixtures.redis import RedisServer
from tests.integration.live.conftest import PASSWORD, Live, User, serve, until

CHAT, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.fixture
async def two(settings: Settings, redis_server: RedisServer) -> AsyncIterator[tuple[Live, Live]]:
    knowledge = settings.knowledge.model_copy(update={"embedder": "none"})
    settings = settings.model_copy(update={"redis_url": SecretStr(redis_server.url), "knowledge": knowledge})
    async with contextlib.AsyncExitStack() as stack:
        reader = FakeReader()
        one, other = [await stack.enter_async_context(serve(settings, reader)) for _ in range(2)]
        yield one, other


@pytest.fixture
async def ada(two: tuple[Live, Live]) -> User:
    await two[0].container.accounts.own.create_admin("ada@example.org", PASSWORD)
    return await two[0].login("ada@example.org")


async def test_each_hears_the_other_and_nobody_hears_twice(two: tuple[Live, Live], ada: User) -> None:
    one, other = two
    one.reader.share(CHAT, ada.id)
    near, far = await one.client(ada.token), await other.client(ada.token)
    for client in (near, far):
        assert await client.ask("join_chat", chat_id=str(CHAT)) == {"ok": True}
    await until(
        lambda: Topic.chat(CHAT) in one.container.bus._elsewhere and Topic.chat(CHAT) in other.container.bus._elsewhere
    )  # type: ignore[attr-defined]
    for number in range(20):
        one.container.bus.publish(LiveEvent(Topic.chat(CHAT), "message_delta", {"n": number}))
    one.container.bus.publish(LiveEvent(Topic.chat(OTHER), "chat_updated", {}))
    one.container.bus.publish(LiveEvent(Topic.chat(CHAT), "message_completed", {}))
    for client in (near, far):
        await client.until_heard("message_completed")
        assert [data["n"] for data in client.named("message_delta")] == list(range(20))
        assert len(client.heard) == 21
    await far.ask("typing", chat_id=str(CHAT), is_typing=True)
    assert (await near.until_heard("typing"))["user_id"] == str(ada.id)
    assert far.named("typing") == []


async def test_rights_and_users_end_in_both(two: tuple[Live, Live], ada: User) -> None:
    one, other = two
    one.reader.share(CHAT, ada.id)
    far = await other.client(ada.token)
    await far.ask("join_chat", chat_id=str(CHAT))
    one.reader.readers.clear()
    one.container.bus.evict(Topic.chat(CHAT))
    await far.until_heard("left_chat")
    assert other.rooms(far) == set()
    one.container.bus.disconnect_user(ada.id)
    await far.until_heard("ended")
    await far.until_cut()


async def test_without_redis_each_serves_its_own(two: tuple[Live, Live], ada: User, redis_server: RedisServer) -> None:
    one, _ = two
    one.reader.share(CHAT, ada.id)
    redis_server.stop()
    client = await one.client(ada.token)
    await client.ask("join_chat", chat_id=str(CHAT))
    one.container.bus.publish(LiveEvent(Topic.chat(CHAT), "message_completed", {}))
    await client.until_heard("message_completed")


async def test_documents_are_heard_and_left_in_the_other_gateway(two: tuple[Live, Live], ada: User) -> None:
    one, other = two
    await other.container.knowledge.dispatcher.aclose()
    async with one.http(ada.token) as http:
        collection = (await http.post("/collections", json={"name": "handbook"})).json()["id"]
        far = await other.client(ada.token)
        assert await far.ask("join_collection", collection_id=collection) == {"ok": True}
        topic = Topic.collection(uuid.UUID(collection))
        await until(lambda: one.container.bus.is_watched(topic))
        fields, files = {"entity_type": "collection", "entity_id": collection}, {"file": ("note.txt", b"some words")}
        document = (await http.post("/documents/upload", data=fields, files=files)).json()["id"]
        await until(lambda: any(told["status"] == "ready" for told in far.named("document_progress")))
        assert {told["document_id"] for told in far.named("document_progress")} == {document}
        assert await far.ask("join_document", document_id=document) == {"ok": True}
        await until(lambda: one.container.bus.is_watched(Topic.document(uuid.UUID(document))))
        assert (await http.delete(f"/collections/{collection}")).status_code == 204
    await far.until_heard("left_collection")
    await far.until_heard("left_document")
    assert other.rooms(far) == set()
