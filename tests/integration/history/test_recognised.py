"""Conversations are kept as one chat each, whatever wire and client they come by."""

import json
from typing import Any

import openai

from tests.clients.scripts import CHAT, answer
from tests.fixtures.team_gateway import TeamGateway
from tests.integration.history.served import MODEL, chats, messages


async def test_three_turns_of_ollamas_own_client_and_a_fourth_over_openais_are_one_chat(
    team_gateway: TeamGateway,
) -> None:
    team_gateway.upstream.script(CHAT, [answer(f"answer {n}") for n in range(4)])
    said: list[dict[str, Any]] = []
    sdk = team_gateway.sdk("ana")
    for number in range(3):
        said.append({"role": "user", "content": f"question {number}"})
        reply = await sdk.chat(MODEL, said, stream=False)
        said.append(reply.message.model_dump(exclude_none=True))
    said.append({"role": "user", "content": "question 3"})
    async with openai.AsyncOpenAI(base_url=f"{team_gateway.url}/v1", api_key="ana") as client:
        await client.chat.completions.create(model=MODEL, messages=said)  # type: ignore[arg-type]  # plain dicts
    [chat] = await chats(team_gateway)
    assert (chat["title"], chat["model"]) == ("question 0", MODEL)
    kept = await messages(team_gateway, chat)
    assert [(m["seq"], m["role"], m["content"], m["status"]) for m in kept] == [
        (2 * n + 1 + a, role, f"{word} {n}", "complete")
        for n in range(4)
        for a, role, word in ((0, "user", "question"), (1, "assistant", "answer"))
    ]
    assert [m["parent_id"] for m in kept] == [None, *(m["id"] for m in kept[:-1])]
    assert {m["llm_provider"] for m in kept if m["role"] == "assistant"} == {"mistral"}
    assert await chats(team_gateway, "bob") == []
    assert json.dumps(kept)
