"""What administrators are told of vectors, and what they can have done about them."""

import asyncio
import uuid

from backend.features.live.events import Topic
from tests.integration.accounts.conftest import Side
from tests.integration.knowledge.conftest import make_collection, member, settled, until, upload


async def test_the_embedder_is_told_with_its_reason(working: Side) -> None:
    reply = await working.ask("GET", "/admin/knowledge/embedder")
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["mode"], told["kind"], told["model"], told["fingerprint"]) == ("keyword", "", "", "")

    async def is_looked() -> bool:
        return "pull one" in (await working.ask("GET", "/admin/knowledge/embedder")).json()["reason"]

    await until(is_looked)


async def test_reindexing_is_for_administrators_and_noted(working: Side) -> None:
    document = await upload(working, await make_collection(working), b"some words")
    await settled(working, document)
    eve = await member(working, "eve")
    for method, path in (("GET", "/admin/knowledge/embedder"), ("POST", "/admin/knowledge/reindex")):
        assert (await eve.ask(method, path)).status_code == 403
    reply = await working.ask("POST", "/admin/knowledge/reindex")
    assert (reply.status_code, reply.json()["index"]) == (202, "embedded")
    assert "vectors.reindex" in await working.actions()


async def test_who_listens_to_a_chat_hears_how_far_its_documents_are(working: Side) -> None:
    chat = (await working.ask("POST", "/chats", {"title": "one"})).json()["id"]
    async with working.container.bus.subscribe(Topic.chat(uuid.UUID(chat))) as events:
        document = await upload(working, chat, b"some words", kind="chat")
        heard = []
        async with asyncio.timeout(50):
            async for event in events:
                if event.name == "document_progress":
                    heard.append(event.data)
                    if event.data["status"] == "ready":
                        break
    assert {told["document_id"] for told in heard} == {document}
    stages = list(dict.fromkeys(told["stage"] for told in heard))
    assert stages == ["uploaded", "extracted", "chunked", "embedded", "indexed", "switched"]
