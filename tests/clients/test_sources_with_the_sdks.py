"""Sources in the answers, through the stock clients: a field none of them knows breaks none, and all let it be read."""

from typing import Any

import anthropic
import openai
import pytest

from tests.clients.scripts import CHAT, answer
from tests.fakes.library import add_collection, add_document
from tests.fakes.team import ANA
from tests.fixtures.team_gateway import TeamGateway

PARKING = "Parking is forbidden before garage doors."
TURNS: Any = [{"role": "user", "content": "Where is parking before a garage forbidden?"}]
SECONDS = 20.0


@pytest.fixture
async def gateway(team_gateway: TeamGateway) -> TeamGateway:
    laws = await add_collection(team_gateway.database, ANA.user_id)
    await add_document(team_gateway.database, ANA.user_id, PARKING, filename="law.pdf", collection_id=laws)
    draft = {"name": "lex", "model": "mistral-small-latest", "collection_ids": [str(laws)]}
    async with team_gateway.http("ana") as http:
        assert (await http.post("/api/v1/agents", json=draft)).status_code == 201
    team_gateway.upstream.script(CHAT, [answer("Before doors [1].")])
    return team_gateway


def titles(rag: Any) -> list[str]:
    return [source["title"] for source in rag["sources"]]


async def test_ollamas_client(gateway: TeamGateway) -> None:
    client = gateway.sdk("ana")
    reply = await client.chat("me/lex", messages=TURNS)
    assert reply.message.content == "Before doors [1]."
    stream = await client.chat("me/lex", messages=TURNS, stream=True)
    pieces = [piece async for piece in stream]
    assert "".join(piece.message.content or "" for piece in pieces) == "Before doors [1]."
    assert pieces[-1].done
    generated = await client.generate("me/lex", prompt=TURNS[0]["content"])
    assert generated.response == "Before doors [1]."


async def test_openais_client(gateway: TeamGateway) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="ana", timeout=SECONDS, max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:  # fmt: skip
        reply = await client.chat.completions.create(model="me/lex", messages=TURNS)
        assert reply.choices[0].message.content == "Before doors [1]."
        assert titles((reply.model_extra or {})["rag"]) == ["law.pdf"]
        async with client.chat.completions.stream(model="me/lex", messages=TURNS) as stream:
            async for _ in stream:
                pass
            whole = await stream.get_final_completion()
        assert whole.choices[0].message.content == "Before doors [1]."
        response = await client.responses.create(model="me/lex", input=TURNS[0]["content"])
        assert response.output_text == "Before doors [1]."
        assert titles((response.model_extra or {})["rag"]) == ["law.pdf"]
        async with client.responses.stream(model="me/lex", input=TURNS[0]["content"]) as events:
            async for _ in events:
                pass
            assert (await events.get_final_response()).output_text == "Before doors [1]."


async def test_anthropics_client(gateway: TeamGateway) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, auth_token="ana", timeout=SECONDS, max_retries=0,  # noqa: S106 (a name)
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
    ) as client:  # fmt: skip
        message = await client.messages.create(model="me/lex", messages=TURNS, max_tokens=99)
        assert message.content[0].model_dump()["text"] == "Before doors [1]."
        assert titles((message.model_extra or {})["rag"]) == ["law.pdf"]
        async with client.messages.stream(model="me/lex", messages=TURNS, max_tokens=99) as stream:
            assert await stream.get_final_text() == "Before doors [1]."
