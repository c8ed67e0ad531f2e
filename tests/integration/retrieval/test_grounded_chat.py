"""A question through the gateway: passages before it, sources after it, on every wire."""

import json
from typing import Any

from tests.clients.scripts import CHAT, answer
from tests.fakes.library import add_collection, add_document
from tests.fakes.team import ANA
from tests.fixtures.team_gateway import TeamGateway

PARKING = "Le stationnement est interdit devant les entrées de garage sous peine d'amende."
ASKED = "Où le stationnement devant un garage est-il interdit ?"
TURNS = [{"role": "user", "content": ASKED}]


async def documented(gateway: TeamGateway, **fields: Any) -> Any:
    """Make an agent of Ana's that answers from one document."""
    laws = await add_collection(gateway.database, ANA.user_id)
    await add_document(gateway.database, ANA.user_id, "Rien.", PARKING, collection_id=laws)
    draft = {"name": "lex", "model": "mistral-small-latest", "system_prompt": "You are Lex.", **fields}
    async with gateway.http("ana") as http:
        made = await http.post("/api/v1/agents", json={**draft, "collection_ids": [str(laws)]})
        assert made.status_code == 201, made.text
        return made.json()


async def test_an_agent_answers_from_its_collection_and_names_its_sources(team_gateway: TeamGateway) -> None:
    await documented(team_gateway)
    team_gateway.upstream.script(CHAT, [answer("Devant les garages [1].")])
    async with team_gateway.http("ana") as http:
        reply = await http.post("/api/chat", json={"model": "ana/lex", "messages": TURNS})
    *_, last = [json.loads(line) for line in reply.text.splitlines()]
    [source] = last["rag"]["sources"]
    assert (source["n"], source["title"], source["page"], last["rag"]["mode"]) == (1, "law.pdf", 2, "keyword")
    [sent] = team_gateway.upstream.calls(CHAT)
    system, user = sent.body["messages"]
    assert system["content"].startswith("You are Lex.\n\n")
    assert PARKING not in system["content"]
    assert f"[1] law.pdf, p. 2\n{PARKING}" in user["content"]
    assert user["content"].endswith(f">>>\n\n{ASKED}")
