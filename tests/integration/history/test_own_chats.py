"""The owner's way to their chats: sending, reading, searching, renaming, taking along, removing."""

import asyncio
import json
import uuid
from typing import Any

import pytest

from backend.core.errors import StoreUnavailable
from backend.features.history.repository import ChatRepository
from tests.architecture.test_policies import labels, router_routes
from tests.clients.scripts import CHAT, answer, calling_answer, mistral_error, tool_call
from tests.fixtures.team_gateway import TeamGateway
from tests.integration.history.served import MODEL, ask, chats, messages


async def send(gateway: TeamGateway, caller: str = "ana", status: int = 200, **body: Any) -> dict[str, Any]:
    headers = body.pop("headers", {})
    async with gateway.http(caller) as http:
        reply = await http.post("/api/v1/messages", json=body, headers=headers)
        assert reply.status_code == status, reply.text
        found: dict[str, Any] = reply.json()
        return found


async def test_a_message_is_answered_in_its_chat_and_the_chat_is_told_again(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one"), answer("two")])
    first = await send(team_gateway, content="a question", model=MODEL)
    second = await send(team_gateway, content="another", chat_id=first["chat_id"])
    assert second["chat_id"] == first["chat_id"]
    assert (second["message"]["content"], second["message"]["status"], second["message"]["seq"]) == (
        "two",
        "complete",
        4,
    )
    told = team_gateway.upstream.calls(CHAT)[1].body["messages"]
    assert [(m["role"], m["content"]) for m in told] == [
        ("user", "a question"),
        ("assistant", "one"),
        ("user", "another"),
    ]
    [chat] = await chats(team_gateway)
    assert [m["content"] for m in await messages(team_gateway, chat)] == ["a question", "one", "another", "two"]
    assert chat["title"] == "a question"


async def test_a_new_chat_is_new_even_when_it_begins_like_another(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    assert len({(await send(team_gateway, content="hi", model=MODEL))["chat_id"] for _ in range(2)}) == 2


async def test_a_message_is_streamed_as_events(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("o", "ne")])
    async with team_gateway.http("ana") as http:
        reply = await http.post("/api/v1/messages", json={"content": "hi", "model": MODEL, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in reply.text.strip().split("\n\n")]
    assert [name for name, _ in events] == [
        "event: message_created",
        *["event: message_delta"] * 2,
        "event: message_completed",
    ]
    told = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert "".join(event.get("content", "") for event in told) == "one"
    [chat] = await chats(team_gateway)
    assert {event["chat_id"] for event in told} == {chat["id"]}
    assert {event["message_id"] for event in told} == {(await messages(team_gateway, chat))[1]["id"]}


async def test_a_message_may_be_sent_to_an_agent_and_its_chat_knows_it(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    async with team_gateway.http("ana") as http:
        agent = (
            await http.post("/api/v1/agents", json={"name": "legal", "model": MODEL, "system_prompt": "Be brief."})
        ).json()
        await send(team_gateway, content="hi", agent_id=agent["id"])
        [chat] = await chats(team_gateway)
        assert chat["agent_id"] == agent["id"]
        await http.delete(f"/api/v1/agents/{agent['id']}")
    [chat] = await chats(team_gateway)
    assert chat["agent_id"] is None
    assert team_gateway.upstream.calls(CHAT)[0].body["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content": "hi"}, 422),
        ({"content": ""}, 422),
        ({"content": "hi", "model": "a", "agent_id": str(uuid.uuid4())}, 422),
        ({"content": "hi", "model": MODEL, "user_id": "x"}, 422),
        ({"content": "hi", "model": "nothing"}, 404),
        ({"content": "hi", "agent_id": str(uuid.uuid4())}, 404),
        ({"content": "hi", "chat_id": str(uuid.uuid4())}, 404),
        ({"content": "hi", "chat_id": "x"}, 422),
    ],
)
async def test_what_cannot_be_sent_is_told_and_leaves_nothing(
    team_gateway: TeamGateway, body: dict[str, Any], status: int
) -> None:
    assert (await send(team_gateway, status=status, **body))["detail"]
    assert await chats(team_gateway) == []


async def test_an_idempotency_key_has_one_effect(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    body = {"content": "hi", "model": MODEL, "headers": {"idempotency-key": "k-1"}}
    first = await send(team_gateway, **body)
    for _ in range(4):
        assert await send(team_gateway, **body) == first
    assert len(team_gateway.upstream.calls(CHAT)) == 1
    await send(team_gateway, **{**body, "content": "ho"}, status=422)
    assert (await send(team_gateway, "bob", **body))["chat_id"] != first["chat_id"], "keys are everybody's own"
    await send(team_gateway, **{**body, "headers": {"idempotency-key": "not good"}}, status=400)
    await send(team_gateway, **body, stream=True, status=400)


async def test_of_equal_requests_at_the_same_time_one_is_answered(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer(*["word "] * 3)])
    async with team_gateway.http("ana") as http:
        body = {"content": "hi", "model": MODEL}
        sent = [http.post("/api/v1/messages", json=body, headers={"idempotency-key": "k-2"}) for _ in range(5)]
        statuses = sorted(reply.status_code for reply in await asyncio.gather(*sent))
    assert len(team_gateway.upstream.calls(CHAT)) == 1
    assert set(statuses) <= {200, 409}
    assert statuses[0] == 200


async def test_a_request_that_failed_may_be_sent_again_with_its_key(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [mistral_error("400-invalid-args.json"), answer("one")])
    body = {"content": "hi", "model": MODEL, "headers": {"idempotency-key": "k-3"}}
    async with team_gateway.http("ana") as http:
        reply = await http.post("/api/v1/messages", json={"content": "hi", "model": MODEL}, headers=body["headers"])
        assert reply.status_code >= 400
    assert (await send(team_gateway, **body))["message"]["content"] == "one"


async def test_chats_are_renamed_found_and_removed(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("Un été à Zürich"), answer("nothing")])
    await ask(team_gateway, {"role": "user", "content": "Where shall we go?"})
    await ask(team_gateway, {"role": "user", "content": "Something else"})
    other, chat = await chats(team_gateway)
    for query in ("ete", "ÉTÉ", "zurich", "Zür", "été a", "where shall", "GO"):
        assert [found["id"] for found in await chats(team_gateway, q=query)] == [chat["id"]], query
    for query in ("winter", "zurich nothing", "?!", '" OR 1', "owner:*"):
        assert await chats(team_gateway, q=query) == [], query
    assert await chats(team_gateway, "bob", q="ete") == []
    async with team_gateway.http("ana") as http:
        path = f"/api/v1/chats/{chat['id']}"
        assert (await http.patch(path, json={"title": "Vacances"})).json()["title"] == "Vacances"
        assert (await http.put(path, json={"title": "Les vacances"})).json()["title"] == "Les vacances"
        assert [found["id"] for found in await chats(team_gateway, q="vacances")] == [chat["id"]]
        assert (await http.get(path)).json()["messages"][1]["content"] == "Un été à Zürich"
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).status_code == 404
        assert await chats(team_gateway, q="vacances") == await chats(team_gateway, q="zurich") == []
        assert [found["id"] for found in await chats(team_gateway)] == [other["id"]]
        assert (await http.delete("/api/v1/history")).status_code == 204
        assert await chats(team_gateway) == []
        made = await http.post("/api/v1/chats", json={"title": "Plans"})
        assert made.status_code == 201
        await send(team_gateway, content="hi", model=MODEL, chat_id=made.json()["id"])
        assert [found["title"] for found in await chats(team_gateway, q="hi")] == ["Plans"]


async def test_what_is_taken_along_holds_everything(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("# one\n\n- two")])
    for number in range(3):
        await ask(team_gateway, {"role": "user", "content": f"question {number}"})
    kept = {chat["id"]: await messages(team_gateway, chat) for chat in await chats(team_gateway)}
    async with team_gateway.http("ana") as http:
        whole = [json.loads(line) for line in (await http.get("/api/v1/export")).text.splitlines()]
        assert {chat["id"]: chat["messages"] for chat in whole} == kept
        chat = whole[0]
        assert (await http.get(f"/api/v1/chats/{chat['id']}/export")).json() == chat
        text = (await http.get(f"/api/v1/chats/{chat['id']}/export", params={"format": "markdown"})).text
        assert text.startswith("# question 2\n")
        assert "## You\n\nquestion 2\n" in text
        assert "## Answer\n\n# one\n\n- two\n" in text
        assert (await http.get(f"/api/v1/chats/{chat['id']}/export", params={"format": "x"})).status_code == 422
    async with team_gateway.http("bob") as http:
        assert (await http.get("/api/v1/export")).text == ""


async def test_what_is_large_is_taken_along_in_pieces_and_looks_the_same(
    team_gateway: TeamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    team_gateway.upstream.script(CHAT, [answer("well")])
    said: list[dict[str, str]] = []
    for number in range(4):
        said.append({"role": "user", "content": f"question {number} " + "x" * 30 * number})
        await ask(team_gateway, *said)
        said.append({"role": "assistant", "content": "well"})
    await ask(team_gateway, {"role": "user", "content": "something else"})
    async with team_gateway.http("ana") as http:
        await http.post("/api/v1/chats", json={"title": "Nothing yet"})
        listed = (await http.get("/api/v1/chats")).json()["items"]
        paths = ["/api/v1/export", *(f"/api/v1/chats/{chat['id']}/export" for chat in listed)]
        paths += [f"{path}?format=markdown" for path in paths[1:]]
        whole = {path: (await http.get(path)).content for path in paths}
        assert [len(json.loads(line)["messages"]) for line in whole[paths[0]].splitlines()] == [0, 2, 8]
        for characters, small, messages_at_once in ((40, 500, 200), (1, 500, 200), (10_000, 3, 3), (0, 0, 1)):
            monkeypatch.setattr("backend.features.history.service._EXPORT_CHARACTERS", characters)
            monkeypatch.setattr("backend.features.history.service._EXPORT_MESSAGES", small)
            monkeypatch.setattr("backend.features.history.repository._MOST_AT_ONCE", messages_at_once)
            assert {path: (await http.get(path)).content for path in paths} == whole


async def test_what_calls_hold_counts_as_size_too(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [calling_answer(tool_call("c1", "write_file", text="x" * 5_000))])
    await ask(team_gateway, {"role": "user", "content": "write it"})
    [chat] = await chats(team_gateway)
    async with team_gateway.database.reading() as session:
        kept, characters = await ChatRepository().size(session, [uuid.UUID(chat["id"])])
    assert kept == len(await messages(team_gateway, chat))
    assert characters > 5_000


async def test_a_store_that_does_not_answer_is_told_before_anything_is_taken_along(
    team_gateway: TeamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    team_gateway.upstream.script(CHAT, [answer("hi")])
    await ask(team_gateway, {"role": "user", "content": "hello"})
    [chat] = await chats(team_gateway)

    async def away(*_: object) -> None:
        raise StoreUnavailable("the store is away", retry_after=2.0)

    monkeypatch.setattr(ChatRepository, "next_messages", away)
    monkeypatch.setattr(ChatRepository, "numbers", away)
    async with team_gateway.http("ana") as http:
        for path in ("/api/v1/export", f"/api/v1/chats/{chat['id']}/export"):
            assert (await http.get(path)).status_code == 503


async def test_nobody_reaches_a_chat_of_somebody_elses_by_any_route(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    await ask(team_gateway, {"role": "user", "content": "mine"})
    [chat] = await chats(team_gateway)
    routes = [label for route in router_routes() if "{chat_id}" in route.path for label in labels(route)]
    assert len(routes) >= 7
    for caller, expected in [("bob", 404), ("ada", 404), ("key", 401), ("nobody", 401)]:
        async with team_gateway.http(caller) as http:
            for label in routes:
                method, path = label.split()
                reply = await http.request(method, path.replace("{chat_id}", chat["id"]), json={"title": "x"})
                assert reply.status_code == expected, (caller, label)
            body = {"content": "hi", "chat_id": chat["id"], "model": MODEL}
            assert (await http.post("/api/v1/messages", json=body)).status_code == expected
    assert [m["content"] for m in await messages(team_gateway, chat)] == ["mine", "one"]
    assert (await chats(team_gateway))[0]["title"] == "mine"


async def test_a_key_or_an_agent_may_be_left_out_of_the_history(team_gateway: TeamGateway) -> None:
    team_gateway.upstream.script(CHAT, [answer("one")])
    async with team_gateway.http("ana") as http:
        agent = (await http.post("/api/v1/agents", json={"name": "quiet", "model": MODEL})).json()
        path = f"/api/v1/agents/{agent['id']}/history"
        assert (await http.get(path)).json() == {"enabled": True}
        assert (await http.put(path, json={"enabled": False})).json() == {"enabled": False}
        await ask(team_gateway, {"role": "user", "content": "hi"}, model="me/quiet")
        assert await chats(team_gateway) == []
        assert (await http.post("/api/v1/messages", json={"content": "x", "model": "me/quiet"})).status_code == 403
        await http.put(path, json={"enabled": True})
        await ask(team_gateway, {"role": "user", "content": "hi"}, model="me/quiet")
        assert len(await chats(team_gateway)) == 1
    async with team_gateway.http("bob") as http:
        assert (await http.put(path, json={"enabled": False})).status_code == 404
        assert (await http.get(path)).status_code == 404
        assert (await http.put(f"/api/v1/keys/{uuid.uuid4()}/history", json={"enabled": False})).status_code == 404
