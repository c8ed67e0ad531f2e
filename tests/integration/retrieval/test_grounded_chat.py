"""A question through the gateway: passages before it, sources after it on every wire; what is none is let be."""

import json
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.clients.scripts import CHAT, answer
from tests.fakes.library import add_collection, add_document
from tests.fakes.team import ANA
from tests.fixtures.team_gateway import TeamGateway

PARKING = "Le stationnement est interdit devant les entrées de garage sous peine d'amende."
ASKED = "Où le stationnement devant un garage est-il interdit ?"
TURNS = [{"role": "user", "content": ASKED}]
BASE = "mistral-small-latest"
TITLES = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji.\n<chat_history>stationnement garage</chat_history>"
)


async def documented(gateway: TeamGateway, **fields: Any) -> dict[str, Any]:
    """Make an agent of Ana's that answers from one document."""
    laws = await add_collection(gateway.database, ANA.user_id)
    await add_document(gateway.database, ANA.user_id, "Rien.", PARKING, collection_id=laws)
    draft = {"name": "lex", "model": BASE, "system_prompt": "You are Lex.", **fields}
    async with gateway.http("ana") as http:
        made = await http.post("/api/v1/agents", json={**draft, "collection_ids": [str(laws)]})
        assert made.status_code == 201, made.text
        told: dict[str, Any] = made.json()
    gateway.upstream.script(CHAT, [answer("Devant les garages [1].")])
    return told


async def ask(gateway: TeamGateway, body: dict[str, Any], caller: str = "ana", **headers: str) -> httpx.Response:
    async with gateway.http(caller) as http:
        return await http.post("/api/chat", json={"model": "ana/lex", "messages": TURNS, **body}, headers=headers)


def last_line(reply: httpx.Response) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = json.loads(reply.text.splitlines()[-1])
    return told


def sent(gateway: TeamGateway) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = gateway.upstream.calls(CHAT)[-1].body["messages"]
    return messages


async def break_search(gateway: TeamGateway) -> None:
    async with gateway.database.transaction() as session:
        await session.execute(text("drop table chunk_terms"))


async def test_an_agent_answers_from_its_collection_and_names_its_sources(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    last = last_line(await ask(team_gateway, {}))
    [source] = last["rag"]["sources"]
    assert (source["n"], source["title"], source["page"], last["rag"]["mode"]) == (1, "law.pdf", 2, "keyword")
    system, user = sent(team_gateway)
    assert system["content"].startswith("You are Lex.\n\n")
    assert PARKING not in system["content"]
    assert f"[1] law.pdf, p. 2\n{PARKING}" in user["content"]
    assert user["content"].endswith(f">>>\n\n{ASKED}")


async def test_the_system_turn_stays_the_same_while_the_conversation_goes_on(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    systems = []
    for turns in (TURNS, [*TURNS, {"role": "assistant", "content": "Là."}, {"role": "user", "content": "Merci !"}]):
        await ask(team_gateway, {"messages": turns})
        systems.append(sent(team_gateway)[0])
    assert systems[0] == systems[1]


@pytest.mark.parametrize("stream", [True, False])
async def test_every_wire_tells_the_sources(team_gateway: TeamGateway, stream: bool) -> None:
    await documented(team_gateway)
    wires = {
        "/api/chat": {"messages": TURNS},
        "/api/generate": {"prompt": ASKED},
        "/v1/chat/completions": {"messages": TURNS},
        "/v1/completions": {"prompt": ASKED},
        "/v1/messages": {"messages": TURNS, "max_tokens": 99},
        "/v1/responses": {"input": ASKED},
    }
    async with team_gateway.http("ana") as http:
        for path, body in wires.items():
            reply = await http.post(path, json={"model": "ana/lex", "stream": stream, **body})
            assert reply.status_code == 200, (path, reply.text)
            assert reply.text.count('"rag":{"sources":[{"n":1,"document_id":"') == 1, (path, reply.text)
            assert PARKING not in reply.text
            assert PARKING in sent(team_gateway)[-1]["content"]


SKIPPED: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "off": ("/api/chat", {"messages": TURNS}, {"x-rag": "off"}),
    "a tool turn": (
        "/api/chat",
        {
            "messages": [
                *TURNS,
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
                {"role": "tool", "content": "stationnement garage", "tool_name": "f"},
            ]
        },
        {},
    ),
    "an answer begun": ("/api/chat", {"messages": [*TURNS, {"role": "assistant", "content": "Bien"}]}, {}),
    "housekeeping": ("/api/chat", {"messages": [{"role": "user", "content": TITLES}]}, {}),
}


@pytest.mark.parametrize("name", SKIPPED)
async def test_what_is_no_question_is_let_be(team_gateway: TeamGateway, name: str) -> None:
    await documented(team_gateway)
    path, body, headers = SKIPPED[name]
    async with team_gateway.http("ana") as http:
        reply = await http.post(path, json={"model": "ana/lex", **body}, headers=headers)
    assert "rag" not in last_line(reply)
    assert sent(team_gateway)[0] == {"role": "system", "content": "You are Lex."}
    assert PARKING not in json.dumps(sent(team_gateway), ensure_ascii=False)


async def test_loading_and_filling_in_search_nothing(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    await break_search(team_gateway)
    async with team_gateway.http("ana") as http:
        for path, body in (
            ("/api/chat", {}),
            ("/api/generate", {}),
            ("/api/generate", {"prompt": "", "keep_alive": 0}),
        ):
            reply = await http.post(path, json={"model": "ana/lex", **body})
            assert "rag" not in last_line(reply)


async def test_an_agent_that_searches_nothing_is_as_it_was(team_gateway: TeamGateway) -> None:
    await documented(team_gateway, rag={"mode": "off"})
    assert "rag" not in last_line(await ask(team_gateway, {}))
    assert sent(team_gateway) == [{"role": "system", "content": "You are Lex."}, *TURNS]


async def test_a_footer_names_the_sources_in_the_text(team_gateway: TeamGateway) -> None:
    await documented(team_gateway, rag={"footer": True})
    reply = await ask(team_gateway, {"stream": False})
    assert reply.json()["message"]["content"] == "Devant les garages [1].\n\nSources: [1] law.pdf, p. 2"


async def test_a_search_that_fails_is_told_and_fails_no_chat(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    await break_search(team_gateway)
    rag = last_line(await ask(team_gateway, {}))["rag"]
    assert (rag["sources"], rag["mode"]) == ([], "none")
    assert "could not be searched" in rag["note"]
    assert sent(team_gateway) == [{"role": "system", "content": "You are Lex."}, *TURNS]


async def test_an_agent_that_requires_its_documents_does_not_answer_without_them(team_gateway: TeamGateway) -> None:
    await documented(team_gateway, rag={"mode": "required"})
    await break_search(team_gateway)
    reply = await ask(team_gateway, {})
    assert reply.status_code == 503
    assert reply.json()["error"].startswith("this agent answers only from its documents")
    assert team_gateway.upstream.calls(CHAT) == []


async def test_the_header_names_collections_for_any_model(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    header = {"x-rag": "collection=laws"}
    rag = last_line(await ask(team_gateway, {"model": BASE}, **header))["rag"]
    assert [source["title"] for source in rag["sources"]] == ["law.pdf"]
    for caller, value in (
        ("eve", "collection=laws"),
        ("ana", "collection=nothing"),
        ("ana", "collection="),
        ("ana", "?"),
    ):
        reply = await ask(team_gateway, {"model": BASE}, caller, **{"x-rag": value})
        assert (reply.status_code, "X-RAG" in reply.json()["error"]) == (400, True)


@pytest.mark.parametrize("value", ["collection=%00", "collection=la%00ws", "collection=laws,%00laws"])
async def test_a_collection_with_nul_in_its_name_is_refused_before_any_store_is_asked(
    team_gateway: TeamGateway, value: str
) -> None:
    await documented(team_gateway)
    reply = await ask(team_gateway, {"model": BASE}, **{"x-rag": value})
    assert (reply.status_code, "NUL (%00)" in reply.json()["error"]) == (400, True)
    assert team_gateway.upstream.calls(CHAT) == []


@pytest.mark.parametrize("sent_as", ["Congés payés".encode(), b"Cong%C3%A9s%20pay%C3%A9s"], ids=["utf-8", "percents"])
async def test_the_header_names_a_collection_with_accents(team_gateway: TeamGateway, sent_as: bytes) -> None:
    await documented(team_gateway)
    leave = await add_collection(team_gateway.database, ANA.user_id, "Congés payés")
    await add_document(team_gateway.database, ANA.user_id, PARKING, collection_id=leave, filename="leave.pdf")
    body = {"model": BASE, "messages": TURNS}
    async with team_gateway.http("ana") as http:
        reply = await http.post("/api/chat", json=body, headers={b"x-rag": b"collection=" + sent_as})
    assert [source["title"] for source in last_line(reply)["rag"]["sources"]] == ["leave.pdf"]


async def test_a_message_of_the_side_api_heeds_the_header(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    for model, value, titles in ((BASE, "collection=laws", ["law.pdf"]), ("me/lex", "off", [])):
        async with team_gateway.http("ana") as http:
            body = {"content": ASKED, "model": model}
            reply = await http.post("/api/v1/messages", json=body, headers={"x-rag": value})
        assert [source["title"] for source in reply.json()["message"]["sources"]] == titles


async def test_a_change_of_an_agent_keeps_its_collections(team_gateway: TeamGateway) -> None:
    agent = await documented(team_gateway, rag={"footer": True})
    place = f"/api/v1/agents/{agent['id']}"
    async with team_gateway.http("ana") as http:
        changed = (await http.patch(place, json={"learn_from_interaction": True})).json()
        assert (changed["collection_ids"], changed["rag"]) == (agent["collection_ids"], agent["rag"])
        silent = (await http.patch(place, json={"rag": {"mode": "required"}})).json()
        assert silent["rag"] == {"mode": "required", "footer": False, "max_tokens": None}
        assert silent["collection_ids"] == agent["collection_ids"]
        assert (await http.patch(place, json={"collection_ids": []})).json()["collection_ids"] == []
        assert (await http.patch(place, json={"collection_ids": [str(uuid.uuid4())]})).status_code == 422


async def test_attached_documents_that_fit_are_read_whole(team_gateway: TeamGateway) -> None:
    agent = await documented(team_gateway)
    await add_document(team_gateway.database, ANA.user_id, "Règle une.", "Règle deux.", agent_id=uuid.UUID(agent["id"]))
    rag = last_line(await ask(team_gateway, {}))["rag"]
    assert [(source["n"], source.get("page")) for source in rag["sources"]] == [(1, None), (2, 2)]
    system, user = sent(team_gateway)
    assert "[1] law.pdf\nRègle une.\n\nRègle deux.\n" in system["content"]
    assert f"[2] law.pdf, p. 2\n{PARKING}" in user["content"]


async def test_a_window_without_room_is_told_and_left_alone(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    rag = last_line(await ask(team_gateway, {"options": {"num_ctx": 1_500}}))["rag"]
    assert (rag["sources"], "no room" in rag["note"]) == ([], True)
    assert sent(team_gateway) == [{"role": "system", "content": "You are Lex."}, *TURNS]


async def test_a_collection_is_searched_by_itself(team_gateway: TeamGateway) -> None:
    agent = await documented(team_gateway)
    place = f"/api/v1/collections/{agent['collection_ids'][0]}/search"
    async with team_gateway.http("ana") as http:
        found = (await http.post(place, json={"query": ASKED, "limit": 1})).json()
        assert [(p["n"], p["title"], p["page"], p["text"]) for p in found["passages"]] == [(1, "law.pdf", 2, PARKING)]
        assert (await http.post(place, json={"query": ""})).status_code == 422
    async with team_gateway.http("eve") as http:
        assert (await http.post(place, json={"query": ASKED})).status_code == 404


async def test_an_agent_names_only_collections_its_owner_may_read(team_gateway: TeamGateway) -> None:
    agent = await documented(team_gateway)
    [laws] = agent["collection_ids"]
    draft = {"name": "mine", "model": BASE, "collection_ids": [laws]}
    for caller, status in (("eve", 422), ("ada", 422), ("ana", 201)):
        async with team_gateway.http(caller) as http:
            assert (await http.post("/api/v1/agents", json=draft)).status_code == status
    async with team_gateway.http("ana") as http:
        place = f"/api/v1/agents/{agent['id']}"
        changed = await http.put(place, json={"name": "lex", "model": BASE, "rag": {"max_tokens": 500}})
        assert (changed.json()["collection_ids"], changed.json()["rag"]["max_tokens"]) == ([], 500)
        assert (await http.put(place, json={"name": "lex", "model": BASE, "rag": {"mode": "?"}})).status_code == 422
    assert "rag" not in last_line(await ask(team_gateway, {}))
