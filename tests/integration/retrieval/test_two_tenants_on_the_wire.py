"""SEC-05 from outside: on no wire and no route does anybody get a word of somebody else's documents."""

import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.clients.scripts import CHAT, answer
from tests.fakes.library import add_collection, add_document
from tests.fakes.team import ANA, EVE
from tests.fixtures.team_gateway import TeamGateway

BASE = "mistral-small-latest"
ASKED = "contrat secret du client, montant du paiement, clause du dossier"
TURNS = [{"role": "user", "content": ASKED}]
PARTS = ("", "/chunks", "/content", "/versions", "/events")
WIRES: Mapping[str, dict[str, Any]] = {
    "/api/chat": {"messages": TURNS},
    "/api/generate": {"prompt": ASKED},
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/messages": {"messages": TURNS, "max_tokens": 99},
    "/v1/responses": {"input": ASKED},
}


@dataclass(frozen=True)
class Tenant:
    name: str
    canary: str
    collection: str
    agent: str
    chat: str
    conversation: str
    documents: tuple[str, ...]
    message: str


async def settle_in(gateway: TeamGateway, name: str, user_id: uuid.UUID) -> Tenant:
    canary, conversation = f"canary{secrets.token_hex(16)}", uuid.uuid4().hex
    text = f"Contrat secret du client : le montant du paiement est {canary}, clause du dossier."
    laws = await add_collection(gateway.database, user_id, f"of {name}")
    async with gateway.http(name) as http:
        draft = {"name": "lex", "model": BASE, "collection_ids": [str(laws)]}
        agent = (await http.post("/api/v1/agents", json=draft)).json()["id"]
        headers = {"x-openwebui-chat-id": conversation}
        await http.post("/api/chat", json={"model": BASE, "messages": TURNS}, headers=headers)
        chat = (await http.get("/api/v1/chats")).json()["items"][0]["id"]
        places: list[dict[str, Any]] = [{"collection_id": laws}, {"agent_id": agent}, {"chat_id": chat}]
        documents = [
            await add_document(
                gateway.database, user_id, text, filename=f"{canary}.pdf",
                **{key: uuid.UUID(str(value)) for key, value in place.items()},
            )
            for place in places
        ]  # fmt: skip
        question = [{"role": "user", "content": f"Dites : {ASKED}"}]
        await http.post("/api/chat", json={"model": "me/lex", "messages": question})
        chats = (await http.get("/api/v1/chats")).json()["items"]
        newest = next(one["id"] for one in chats if one["id"] != chat)
        said = (await http.get(f"/api/v1/messages/chat/{newest}")).json()["items"]
        message = next(one["id"] for one in said if one["role"] == "assistant")
    return Tenant(name, canary, str(laws), agent, chat, conversation, tuple(map(str, documents)), message)


@pytest.fixture
async def tenants(team_gateway: TeamGateway) -> tuple[Tenant, Tenant]:
    team_gateway.upstream.script(CHAT, [answer("Voir [1].")])
    return await settle_in(team_gateway, "ana", ANA.user_id), await settle_in(team_gateway, "eve", EVE.user_id)


def prompts(gateway: TeamGateway) -> str:
    return json.dumps([call.body for call in gateway.upstream.calls(CHAT)], ensure_ascii=False)


async def on_every_wire(http: httpx.AsyncClient, model: str, headers: Mapping[str, str]) -> str:
    said = ""
    for path, body in WIRES.items():
        for stream in (True, False):
            reply = await http.post(path, json={"model": model, "stream": stream, **body}, headers=headers)
            said += reply.text
    return said


async def test_on_every_wire_everybody_is_answered_from_their_own_documents_alone(
    team_gateway: TeamGateway, tenants: tuple[Tenant, Tenant]
) -> None:
    for mine, other in (tenants, tenants[::-1]):
        team_gateway.upstream.requests.clear()
        async with team_gateway.http(mine.name) as http:
            said = await on_every_wire(http, "me/lex", {"x-openwebui-chat-id": mine.conversation})
            said += await on_every_wire(http, BASE, {"x-rag": f"collection={mine.collection}"})
        assert prompts(team_gateway).count(mine.canary) >= 2 * 2 * len(WIRES)
        assert mine.canary in said  # as a title among the sources
        assert other.canary not in prompts(team_gateway) + said


async def test_on_no_wire_is_anything_of_a_strangers_reached(
    team_gateway: TeamGateway, tenants: tuple[Tenant, Tenant]
) -> None:
    ana = tenants[0]
    names = (
        ana.collection,
        uuid.UUID(ana.collection).hex,
        "of ana",
        f"of ana,{tenants[1].collection}",
        "*",
        "' or 1=1",
    )
    for caller in ("eve", "bob", "may", "key"):
        team_gateway.upstream.requests.clear()
        async with team_gateway.http(caller) as http:
            said = await on_every_wire(http, BASE, {"x-openwebui-chat-id": ana.conversation})
            said += await on_every_wire(http, BASE, {"x-openwebui-chat-id": ana.chat})
            for model in ("ana/lex", ana.agent, f"agent:{ana.agent}", "lex"):
                said += await on_every_wire(http, model, {})
            for name in names:
                said += await on_every_wire(http, BASE, {"x-rag": f"collection={name}"})
                said += await on_every_wire(http, BASE, {"x-rag": name})
        assert ana.canary not in prompts(team_gateway) + said, caller


async def test_on_no_route_is_anything_of_a_strangers_told(
    team_gateway: TeamGateway, tenants: tuple[Tenant, Tenant]
) -> None:
    ana, eve = tenants
    places = {"collection": ana.collection, "agent": ana.agent, "chat": ana.chat}
    reads = [
        f"/messages/{ana.message}/sources",
        f"/messages/chat/{ana.chat}",
        f"/chats/{ana.chat}",
        f"/chats/{ana.chat}/export",
        *(f"/documents?entity_type={kind}&entity_id={place}" for kind, place in places.items()),
        *(
            f"/documents/{one}{part}"
            for one in ana.documents
            for part in ("", "/chunks", "/content", "/versions", "/events")
        ),
    ]
    for caller in ("eve", "bob", "may", "key"):
        async with team_gateway.http(caller) as http:
            said = "".join([(await http.get(path)).text for path in ("/api/v1/collections", "/api/v1/chats?q=contrat")])
            for path in reads:
                reply = await http.get(f"/api/v1{path}")
                assert reply.status_code in {401, 404}, (caller, path, reply.text)
                said += reply.text
            for where in ({}, {"$or": [{}]}, {"collection_id": ana.collection}):
                asked = {"query": ASKED, "where": where, "collection_ids": [ana.collection]}
                for collection in (ana.collection, eve.collection):
                    said += (await http.post(f"/api/v1/collections/{collection}/search", json=asked)).text
            draft = {"name": "thief", "model": BASE, "collection_ids": [ana.collection]}
            assert (await http.post("/api/v1/agents", json=draft)).status_code in {401, 403, 422}
            sent = {"content": ASKED, "agent_id": ana.agent}, {"content": ASKED, "model": BASE, "chat_id": ana.chat}
            for body in sent:
                reply = await http.post("/api/v1/messages", json=body)
                assert reply.status_code in {401, 403, 404, 422}, (caller, body, reply.text)
                said += reply.text
            assert ana.canary not in said, caller


async def test_what_is_unshared_or_deleted_is_found_no_more(
    team_gateway: TeamGateway, tenants: tuple[Tenant, Tenant]
) -> None:
    ana = tenants[0]
    header = {"x-rag": f"collection={ana.collection}"}
    place, body = f"/api/v1/collections/{ana.collection}", {"name": "of ana"}
    async with team_gateway.http("ana") as own, team_gateway.http("eve") as stranger:
        await own.put(place, json={**body, "is_public": True})
        assert ana.canary in await on_every_wire(stranger, BASE, header)
        await own.put(place, json={**body, "is_public": False})
        team_gateway.upstream.requests.clear()
        assert ana.canary not in await on_every_wire(stranger, BASE, header) + prompts(team_gateway)
        await own.put(place, json={**body, "is_public": True})
        await own.delete(f"/api/v1/documents/{ana.documents[0]}")
        assert ana.canary not in await on_every_wire(stranger, BASE, header) + prompts(team_gateway)
