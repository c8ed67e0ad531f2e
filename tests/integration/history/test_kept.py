"""What a served gateway keeps, and what it does not; nothing is asked of the store while an answer streams."""

import asyncio
import json
from pathlib import Path

import httpx
import ollama
import pytest

from tests.clients.scripts import CHAT, EMBEDDINGS, answer, calling_answer, embeddings, thinking_answer, tool_call
from tests.fakes.scripted_upstream import Piece, Reply, sse_reply
from tests.fixtures.statements import OTHERS
from tests.fixtures.team_gateway import TeamGateway
from tests.integration.history.served import MODEL, ask, chats, messages

HI = {"role": "user", "content": "hi"}
TASK = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n<chat_history>\nhi\n"


def slow_answer(*texts: str, delay: float = 0.1, hang: float = 0.0, cut: bool = False) -> Reply:
    """Answer piece by piece; wait before the end, or break off instead of it."""
    whole = answer(*texts)
    assert isinstance(whole.body, tuple)
    pieces = [Piece(piece.data, delay) for piece in whole.body if isinstance(piece, Piece)]
    if hang:
        pieces[-2:-2] = [Piece(b": wait\n\n", hang)]
    if cut:
        pieces = pieces[:-2]
    return Reply(200, sse_reply(b"").headers, pieces, cut=cut)


async def test_nothing_is_asked_of_the_store_between_the_first_and_the_last_token(
    statements: list[str], team_gateway: TeamGateway
) -> None:
    team_gateway.upstream.script(CHAT, [answer("hi"), slow_answer(*[f"{n} " for n in range(8)], delay=0.08)])
    counts: list[int] = []
    await ask(team_gateway, {"role": "user", "content": "hello"})  # the first connection has been prepared then
    statements.clear()
    async for _ in await team_gateway.sdk("ana").chat(MODEL, [HI], stream=True):
        counts.append(sum(not OTHERS.search(s) for s in statements))  # noqa: PERF401 (seen until then)
    assert counts[0] > 0, "the question is kept before the first token"
    assert len(set(counts[:-1])) == 1, [s[:160] for s in statements if not OTHERS.search(s)][counts[0] :]
    assert len(counts) >= 8


async def test_an_answer_is_kept_with_thinking_and_calls(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(
        CHAT, [thinking_answer("let me see", "call it"), calling_answer(tool_call("c1", "weather", city="Paris"))]
    )
    await ask(team_gateway, HI, think=True)
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    await ask(team_gateway, {"role": "user", "content": "warm?"}, tools=tools)
    called, thought = [(await messages(team_gateway, chat))[1] for chat in await chats(team_gateway)]
    assert (thought["content"], thought["thinking"]) == ("call it", "let me see")
    assert called["tool_calls"] == [{"id": "c1", "name": "weather", "arguments": {"city": "Paris"}}]
    assert (called["prompt_tokens"], called["completion_tokens"], called["llm_model"]) == (9, 5, MODEL)


async def test_what_is_no_conversation_of_an_account_is_not_kept(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    team_gateway.upstream.script(EMBEDDINGS, [embeddings([1.0, 0.0])])
    await ask(team_gateway, HI, caller="key")
    await ask(team_gateway, {"role": "user", "content": TASK}, headers={"x-openwebui-chat-id": "c-1"})
    async with team_gateway.http("ana") as http:
        for path, body in [
            ("/api/embed", {"model": "mistral-embed", "input": "hi"}),
            ("/api/generate", {"model": "codestral-2508", "prompt": "a", "suffix": "b", "stream": False}),
            ("/api/chat", {"model": MODEL, "messages": []}),
        ]:
            await http.post(path, json=body)
    assert await chats(team_gateway) == []


async def test_open_webuis_chat_is_one_chat(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    headers = {"x-openwebui-chat-id": "6fd6ba6e-0000-4000-8000-000000000001"}
    await ask(team_gateway, HI, headers=headers)
    await ask(team_gateway, {"role": "user", "content": TASK}, headers=headers)
    await ask(team_gateway, {"role": "user", "content": "of another kind"}, headers=headers)
    [chat] = await chats(team_gateway)
    assert chat["external_id"] == headers["x-openwebui-chat-id"]
    assert [m["content"] for m in await messages(team_gateway, chat)] == ["hi", "one", "of another kind", "one"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_whose_client_leaves_is_kept_as_far_as_it_came(team_gateway: TeamGateway, stream: bool) -> None:
    team_gateway.upstream.script(CHAT, [slow_answer("so ", "far ", "and more", hang=20)])
    async with team_gateway.http("ana") as http:
        body = {"model": MODEL, "messages": [HI], "stream": stream}
        if stream:
            async with http.stream("POST", "/api/chat", json=body) as reply:
                read = ""
                async for line in reply.aiter_lines():
                    read += json.loads(line)["message"]["content"]
                    if read == "so far and more":
                        break
        else:
            asking = asyncio.create_task(http.post("/api/chat", json=body))
            async with asyncio.timeout(10):
                while not team_gateway.upstream.calls(CHAT):  # noqa: ASYNC110 (another thread's)
                    await asyncio.sleep(0.02)
            asking.cancel()
            await asyncio.wait({asking})
    async with asyncio.timeout(10):
        while True:
            [chat] = await chats(team_gateway)
            _, cut = await messages(team_gateway, chat)
            if cut["status"] != "pending":
                break
            await asyncio.sleep(0.05)
    assert cut["status"] == "interrupted"
    assert cut["content"] == ("so far and more" if stream else cut["content"])


async def collect(gateway: TeamGateway) -> list[str]:
    return [part.message.content or "" async for part in await gateway.sdk("ana").chat(MODEL, [HI], stream=True)]


async def test_an_answer_that_breaks_is_kept_with_its_reason(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [slow_answer("so ", "far", cut=True)])
    with pytest.raises((ollama.ResponseError, httpx.HTTPError)):
        await collect(team_gateway)
    [chat] = await chats(team_gateway)
    _, broken = await messages(team_gateway, chat)
    assert (broken["status"], broken["content"]) == ("error", "so far")
    assert broken["error"]


async def test_a_chat_is_followed_while_it_is_answered(team_gateway: TeamGateway) -> None:
    async with team_gateway.http("ana") as http:
        made = (await http.post("/api/v1/chats", json={})).json()
        async with http.stream("GET", f"/api/v1/messages/stream/{made['id']}") as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            async for piece in reply.aiter_bytes():
                assert piece.startswith(b":")
                break


def searched(folder: Path, canary: bytes) -> list[str]:
    """Return the files that hold a text."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and canary in path.read_bytes()]


async def test_an_erased_account_leaves_no_word_on_the_disk(team_gateway: TeamGateway, tmp_path: Path) -> None:
    canary = "zuikaquorbelvint"
    team_gateway.upstream.script(CHAT, [answer(f"I say {canary} too")])
    for number in range(3):
        await ask(team_gateway, {"role": "user", "content": f"{number} {canary}"}, caller="eve")
    body = {"content": f"again {canary}", "model": MODEL}
    async with team_gateway.http("eve") as http:
        await http.post("/api/v1/messages", json=body, headers={"idempotency-key": "k"})
        found = (await http.get("/api/v1/chats", params={"q": canary})).json()["items"]
        assert len(found) == 4
        await http.patch(f"/api/v1/chats/{found[0]['id']}", json={"title": f"{canary} renamed"})
    await ask(team_gateway, HI)
    assert searched(tmp_path / "data", canary.encode())
    async with team_gateway.http("ada") as http:
        user = next(u for u in (await http.get("/api/v1/admin/users")).json()["items"] if u["trigramme"] == "eve")
        assert (await http.delete(f"/api/v1/admin/users/{user['id']}")).status_code == 204
    async with team_gateway.http("ana") as http:
        # Somebody's compaction is everybody's.
        assert (await http.delete("/api/v1/history")).status_code == 204
    assert searched(tmp_path / "data", canary.encode()) == []


async def test_a_chat_removed_while_it_is_answered_is_told_as_such(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [slow_answer("late", hang=1)])
    async with team_gateway.http("ana") as http:
        asking = asyncio.create_task(http.post("/api/v1/messages", json={"content": "hello", "model": MODEL}))
        async with asyncio.timeout(10):
            while not team_gateway.upstream.calls(CHAT):  # noqa: ASYNC110 (another thread's)
                await asyncio.sleep(0.02)
        assert (await http.delete("/api/v1/history")).status_code == 204
        assert (await asking).status_code == 404
