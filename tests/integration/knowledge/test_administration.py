"""What administrators are told of vectors, and what they can have done about them."""

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
