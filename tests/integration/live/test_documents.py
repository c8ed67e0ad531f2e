"""Sockets hear how far documents are, by a document or by the collection it is in, and only while they may read it."""

import uuid
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.bootstrap import sockets as sockets_module
from backend.core.config import Settings
from backend.features.accounts.models import Role
from backend.features.accounts.models import User as Row
from backend.features.agents.models import Agent
from backend.features.live.events import Topic
from backend.features.live.sockets import LiveSockets
from tests.integration.live.conftest import Client, Live, User, until

STAGES = ["uploaded", "extracted", "chunked", "embedded", "indexed", "switched"]
NOBODYS = uuid.UUID(int=99)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Nobody makes vectors here."""
    return settings.model_copy(update={"knowledge": settings.knowledge.model_copy(update={"embedder": "none"})})


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are looked over twenty times a second instead of every minute."""
    monkeypatch.setattr(sockets_module, "LiveSockets", partial(LiveSockets, look_seconds=0.05))


async def collection_of(live: Live, owner: User, **fields: Any) -> uuid.UUID:
    async with live.http(owner.token) as http:
        reply = await http.post("/collections", json={"name": "handbook", **fields})
    assert reply.status_code == 201, reply.text
    return uuid.UUID(reply.json()["id"])


async def upload(
    live: Live, owner: User, place: uuid.UUID, text: str = "some words", kind: str = "collection"
) -> uuid.UUID:
    async with live.http(owner.token) as http:
        fields, files = {"entity_type": kind, "entity_id": str(place)}, {"file": ("note.txt", text.encode())}
        reply = await http.post("/documents/upload", data=fields, files=files)
    assert reply.status_code == 202, reply.text
    return uuid.UUID(reply.json()["id"])


async def change(live: Live, owner: User, method: str, path: str, body: object = None) -> None:
    async with live.http(owner.token) as http:
        reply = await http.request(method, path, json=body)
    assert reply.is_success, reply.text


async def join(client: Client, *topics: Topic) -> None:
    for topic in topics:
        assert await client.ask(f"join_{topic.kind}", **{topic.field: str(topic.id)}) == {"ok": True}


async def heard_until_ready(client: Client, *documents: uuid.UUID) -> list[dict[str, Any]]:
    """Return what was heard of documents once all are ready."""
    wanted = {str(document) for document in documents}

    def ready() -> set[str]:
        return {told["document_id"] for told in client.named("document_progress") if told["status"] == "ready"}

    await until(lambda: wanted <= ready())
    return client.named("document_progress")


async def test_who_joins_a_document_hears_every_stage_until_it_is_ready(live: Live, eve: User) -> None:
    await live.container.knowledge.dispatcher.aclose()
    collection = await collection_of(live, eve)
    document = await upload(live, eve, collection)
    await upload(live, eve, collection, "another's words")
    client = await live.client(eve.token)
    await join(client, Topic.document(document))
    assert live.rooms(client) == {f"document:{document}"}
    live.container.knowledge.dispatcher.start()
    told = await heard_until_ready(client, document)
    assert list(dict.fromkeys(one["stage"] for one in told)) == STAGES
    assert {one["document_id"] for one in told} == {str(document)}
    assert (told[-1]["progress"], told[-1]["error"], set(told[0])) == (
        *(100, None),
        {"document_id", "status", "stage", "progress", "version", "error"},
    )


async def test_why_a_document_failed_is_heard(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    client = await live.client(eve.token)
    await join(client, Topic.collection(collection))
    await upload(live, eve, collection, " \n ")
    await until(lambda: any(told["status"] == "failed" for told in client.named("document_progress")))
    assert client.named("document_progress")[-1]["error"]


async def test_who_joins_a_collection_hears_of_all_its_documents_and_of_no_others(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    other = await collection_of(live, eve, name="another")
    client = await live.client(eve.token)
    await join(client, Topic.collection(collection))
    await upload(live, eve, other, "words of another place")
    documents = [await upload(live, eve, collection, f"words {number}") for number in range(2)]
    told = await heard_until_ready(client, *documents)
    assert {one["document_id"] for one in told} == {str(document) for document in documents}
    assert {one["collection_id"] for one in told} == {str(collection)}
    for document in documents:
        own = [one for one in told if one["document_id"] == str(document)]
        assert own[0]["status"] == "queued"
        assert list(dict.fromkeys(one["stage"] for one in own)) == STAGES


async def test_who_is_in_both_rooms_hears_it_by_each(live: Live, eve: User) -> None:
    await live.container.knowledge.dispatcher.aclose()
    collection = await collection_of(live, eve)
    document = await upload(live, eve, collection)
    client = await live.client(eve.token)
    await join(client, Topic.document(document), Topic.collection(collection))
    live.container.knowledge.dispatcher.start()
    await until(lambda: sum(told["status"] == "ready" for told in client.named("document_progress")) == 2)
    by_collection = [dict(told) for told in client.named("document_progress") if "collection_id" in told]
    by_document = [told for told in client.named("document_progress") if "collection_id" not in told]
    assert {told.pop("collection_id") for told in by_collection} == {str(collection)}
    assert by_collection == by_document


async def test_who_leaves_hears_no_more(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    client, other = await live.client(eve.token), await live.client(eve.token)
    for one in (client, other):
        await join(one, Topic.collection(collection))
    assert await client.ask("leave_collection", collection_id=str(collection)) == {"ok": True}
    await heard_until_ready(other, await upload(live, eve, collection))
    assert (live.rooms(client), client.heard) == (set(), [])
    assert await other.ask("leave_collection", collection_id=str(collection)) == {"ok": True}
    assert not live.container.bus.is_watched(Topic.collection(collection))


@pytest.mark.parametrize("kind", ["document", "collection"])
async def test_what_is_foreign_and_what_is_not_there_are_refused_alike(
    live: Live, eve: User, bob: User, kind: str
) -> None:
    collection = await collection_of(live, eve)
    foreign = {"collection": collection, "document": await upload(live, eve, collection)}[kind]
    client = await live.client(bob.token)
    for wanted in (foreign, NOBODYS):
        told = await client.ask(f"join_{kind}", **{f"{kind}_id": str(wanted)})
        assert told == {"error": f"there is no such {kind}, or you may not read it"}
    for odd in (f"{kind}:{foreign}", "", None, 2, [str(foreign)], {"$ne": 1}, "' or 1=1 --", f"{{{str(foreign)[1:]}"):
        for event in (f"join_{kind}", f"leave_{kind}"):
            told = await client.ask(event, **{f"{kind}_id": odd})
            assert told == {"error": f"{kind}_id must be the id of a {kind}"}
    assert live.rooms(client) == set()


async def test_an_id_opens_the_room_of_its_own_kind_alone(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    document = await upload(live, eve, collection)
    client = await live.client(eve.token)
    assert "error" in await client.ask("join_document", document_id=str(collection))
    assert "error" in await client.ask("join_collection", collection_id=str(document))
    assert "error" in await client.ask("join_chat", chat_id=str(collection))
    assert "error" in await client.ask("join_document", collection_id=str(document))
    await join(client, Topic.document(document))
    assert await client.ask("typing", document_id=str(document), is_typing=True) == {
        "error": "chat_id must be the id of a chat"
    }
    assert await client.ask("typing", chat_id=str(document), is_typing=True) == {"error": "join the chat first"}


async def test_all_that_a_socket_listens_to_counts_together(
    live: Live, eve: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.features.live.commands.MOST_TOPICS", 3)
    chat = live.reader.share(uuid.UUID(int=1), eve.id)
    collection = await collection_of(live, eve)
    documents = [await upload(live, eve, collection, f"words {number}") for number in range(2)]
    client = await live.client(eve.token)
    await join(client, Topic.chat(chat), Topic.collection(collection), Topic.document(documents[0]))
    told = await client.ask("join_document", document_id=str(documents[1]))
    assert "leave one first" in told["error"]
    await client.ask("leave_chat", chat_id=str(chat))
    await join(client, Topic.document(documents[1]))


@pytest.mark.parametrize("is_public", [True, False], ids=["public", "shared with a role"])
async def test_who_may_not_read_a_collection_any_more_is_put_out_at_once(
    live: Live, eve: User, bob: User, is_public: bool
) -> None:
    async with live.container.database.reading() as session:
        role = await session.scalar(select(Role.id).where(Role.name == "user"))
    shared = {"is_public": True} if is_public else {"role_ids": [str(role)]}
    collection = await collection_of(live, eve, **shared)
    document = await upload(live, eve, collection)
    owner, guest = await live.client(eve.token), await live.client(bob.token)
    for client in (owner, guest):
        await join(client, Topic.collection(collection), Topic.document(document))
    await change(live, eve, "PUT", f"/collections/{collection}", {"name": "still shared", **shared})
    await change(live, eve, "PUT", f"/collections/{collection}", {"name": "mine"})
    assert await guest.until_heard("left_collection") == {
        "collection_id": str(collection),
        "error": "you may not read this collection any more",
    }
    assert await guest.until_heard("left_document") == {
        "document_id": str(document),
        "error": "you may not read this document any more",
    }
    assert live.rooms(guest) == set()
    assert live.rooms(owner) == {f"collection:{collection}", f"document:{document}"}
    guest.heard.clear()
    await heard_until_ready(owner, await upload(live, eve, collection, "more words"))
    assert guest.heard == []


async def test_a_collection_that_is_gone_is_left_with_its_documents(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    document = await upload(live, eve, collection)
    client = await live.client(eve.token)
    await join(client, Topic.collection(collection), Topic.document(document))
    await change(live, eve, "DELETE", f"/collections/{collection}")
    await client.until_heard("left_collection")
    await client.until_heard("left_document")
    assert live.rooms(client) == set()


async def test_a_document_is_left_once_it_is_gone(live: Live, eve: User) -> None:
    collection = await collection_of(live, eve)
    document = await upload(live, eve, collection)
    client = await live.client(eve.token)
    await join(client, Topic.document(document), Topic.collection(collection))
    await change(live, eve, "DELETE", f"/documents/{document}")
    assert (await client.until_heard("left_document"))["document_id"] == str(document)
    assert client.named("document_progress")[-1]["status"] == "deleting"
    assert live.rooms(client) == {f"collection:{collection}"}


@pytest.mark.usefixtures("often")
async def test_what_changes_unheard_is_seen_when_sockets_are_looked_over(live: Live, eve: User, bob: User) -> None:
    collection = await collection_of(live, eve, is_public=True)
    document = await upload(live, eve, collection)
    client = await live.client(bob.token)
    await join(client, Topic.collection(collection), Topic.document(document))
    async with live.container.database.transaction() as session:
        await session.execute(update(Row).where(Row.id == eve.id).values(is_active=False))
    await client.until_heard("left_collection")
    await client.until_heard("left_document")
    assert live.rooms(client) == set()


@pytest.mark.usefixtures("often")
async def test_a_document_of_an_agent_is_heard_by_those_who_may_ask_the_agent(live: Live, eve: User, bob: User) -> None:
    agent = Agent(id=uuid.uuid4(), name="helper", owner_id=eve.id, model="demo", is_public=True, shares=[])
    async with live.container.database.transaction() as session:
        session.add(agent)
    await live.container.knowledge.dispatcher.aclose()
    document = await upload(live, eve, agent.id, kind="agent")
    client = await live.client(bob.token)
    await join(client, Topic.document(document))
    live.container.knowledge.dispatcher.start()
    told = await heard_until_ready(client, document)
    assert list(dict.fromkeys(one["stage"] for one in told)) == STAGES
    async with live.container.database.transaction() as session:
        await session.execute(update(Agent).where(Agent.id == agent.id).values(is_public=False))
    await client.until_heard("left_document")
