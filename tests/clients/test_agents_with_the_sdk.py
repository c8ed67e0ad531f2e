"""Agents through the stock Ollama SDK: made, copied, shown, asked and removed like any other model."""

import json
from typing import Any

import ollama
import pytest

from tests.clients.scripts import CHAT, answer
from tests.fixtures.team_gateway import TeamGateway

BASE = "mistral-small-latest"
PROMPT = 'You are "Lex".\nCite the law.'
USER = {"role": "user", "content": "May I park here?"}


async def make(client: ollama.AsyncClient, name: str = "me/legal", **more: Any) -> Any:
    return await client.create(
        model=name,
        from_=BASE,
        system=PROMPT,
        parameters={"temperature": 0.2, "stop": ["END"]},
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good day."}],
        **more,
    )


async def names(client: ollama.AsyncClient) -> set[str]:
    return {str(model.model) for model in (await client.list()).models}


async def test_an_agent_lives_its_life_through_the_stock_client(team_gateway: TeamGateway) -> None:
    ana = team_gateway.sdk("ana")
    assert (await make(ana)).status == "success"
    assert "ana/legal:latest" in await names(ana)

    shown = await ana.show("ana/legal")
    assert shown.details is not None
    assert (shown.details.parent_model, shown.details.family) == (f"{BASE}:latest", "mistral")
    assert shown.parameters is not None
    assert [line.split() for line in shown.parameters.splitlines()] == [["stop", '"END"'], ["temperature", "0.2"]]
    assert "tools" in (shown.capabilities or [])

    team_gateway.upstream.script(CHAT, [answer("No.")])
    reply = await ana.chat("me/legal", messages=[USER], options={"temperature": 0.9})
    assert (reply.message.content, reply.model) == ("No.", "me/legal")
    [sent] = team_gateway.upstream.calls(CHAT)
    assert sent.body["messages"] == [
        {"role": "system", "content": PROMPT},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Good day."},
        USER,
    ]
    assert (sent.body["temperature"], sent.body["stop"], sent.body["model"]) == (0.9, ["END"], BASE)
    assert {model.model for model in (await ana.ps()).models} == {"ana/legal:latest"}

    await ana.copy("me/legal", "me/second")
    assert {"ana/legal:latest", "ana/second:latest"} <= await names(ana)
    assert (await ana.show("me/second")).modelinfo == shown.modelinfo
    await ana.delete("me/legal")
    assert "ana/legal:latest" not in await names(ana)
    with pytest.raises(ollama.ResponseError, match="not found"):
        await ana.chat("me/legal", messages=[USER])


async def test_pushing_an_agent_lets_everybody_use_it_and_keeps_its_prompt(team_gateway: TeamGateway) -> None:
    ana, eve = team_gateway.sdk("ana"), team_gateway.sdk("eve")
    await make(ana)
    assert "ana/legal:latest" not in await names(eve)
    steps = [step async for step in await ana.push("me/legal", stream=True)]
    assert [step.status for step in steps] == ["retrieving manifest", "pushing manifest", "success"]
    assert all(step.digest is None for step in steps)
    assert "ana/legal:latest" in await names(eve)

    async with team_gateway.http("eve") as http:
        shown = (await http.post("/api/show", json={"model": "ana/legal"})).json()
        told = json.dumps(shown)
    assert shown["system"] == ""
    assert "Cite the law" not in told
    team_gateway.upstream.script(CHAT, [answer("No.")])
    assert (await eve.generate("ana/legal", "May I?")).response == "No."
    with pytest.raises(ollama.ResponseError, match="keeps its prompt to itself") as caught:
        await eve.copy("ana/legal", "me/stolen")
    assert caught.value.status_code == 403
    for verb in (eve.delete("ana/legal"), eve.push("ana/legal"), eve.create("ana/legal", from_=BASE)):
        with pytest.raises(ollama.ResponseError, match="somebody else's agent"):
            await verb


async def test_an_agent_can_be_made_anew_and_stays_public(team_gateway: TeamGateway) -> None:
    ana, eve = team_gateway.sdk("ana"), team_gateway.sdk("eve")
    await make(ana)
    await ana.push("me/legal")
    before = {model.model: model.digest for model in (await eve.list()).models}
    await ana.create("me/legal", from_=BASE, system="Be brief.")
    after = {model.model: model.digest for model in (await eve.list()).models}
    assert before["ana/legal:latest"] != after["ana/legal:latest"]
    assert (await ana.show("me/legal"))["modelfile"].splitlines()[-1] == "SYSTEM Be brief."


@pytest.mark.parametrize(
    ("caller", "name", "more", "status", "text"),
    [
        ("key", "me/x", {}, 403, "agents belong to accounts"),
        ("may", "me/x", {}, 403, "agents:write"),
        ("ana", "me/x:v2", {}, 400, "agents have no tags"),
        ("ana", "me/x", {"from_": "nope"}, 404, "model 'nope' not found"),
        ("ana", "me/x", {"from_": None}, 400, "FROM"),
        ("ana", "legal", {}, 400, "for an agent of yours, name it me/legal"),
        ("ana", "me/x", {"template": "{{ .Prompt }}"}, 400, "template"),
        ("ana", "me/x", {"quantize": "q4_0"}, 400, "no files"),
        ("ana", "me/x", {"parameters": {"temperature": "hot"}}, 400, "must be of type float32"),
        ("ana", "me/x", {"parameters": {"temprature": 1}}, 400, "unknown parameter 'temprature'"),
    ],
)
async def test_what_cannot_be_made_is_told_in_one_sentence(
    team_gateway: TeamGateway, caller: str, name: str, more: dict[str, Any], status: int, text: str
) -> None:
    with pytest.raises(ollama.ResponseError, match=text) as caught:
        await team_gateway.sdk(caller).create(**{"model": name, "from_": BASE, **more})
    assert caught.value.status_code == status
