"""OpenAI's official Python SDK, unchanged, pointed at the gateway."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    answer,
    calling_answer,
    embeddings,
    golden,
    golden_text,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import sse_reply

SMALL = "mistral-small-latest"
HELLO: Any = [{"role": "user", "content": "Say hello in French."}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]


def client_of(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="unused", timeout=CLIENT_SECONDS, max_retries=0)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sdk(mistral: Served) -> Iterator[openai.OpenAI]:
    with client_of(mistral) as one:
        yield one


def test_a_chat(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("Hm.", "Salut")])
    reply = sdk.chat.completions.create(model=SMALL, messages=HELLO, reasoning_effort="low")
    (choice,) = reply.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Salut", "stop")
    assert choice.message.model_dump()["reasoning"] == "Hm."
    assert reply.usage is not None
    assert reply.usage.total_tokens == 14


def test_a_stream(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    stream = sdk.chat.completions.create(
        model=SMALL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == golden_text("mistral/text.sse")
    assert chunks[-1].usage is not None


def test_a_stream_put_together_by_the_sdk(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [calling_answer(tool_call("gSIMJiOkT", "get_weather", city="Nice"))])
    with sdk.chat.completions.stream(model=SMALL, messages=HELLO, tools=TOOLS) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert message.role == "assistant"
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == (
        "gSIMJiOkT",
        "get_weather",
        {"city": "Nice"},
    )


def test_a_tool_is_called_and_answered(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(
        CHAT, [calling_answer(tool_call("gSIMJiOkT", "get_weather", city="Nice")), answer("Sunny.")]
    )
    asked = sdk.chat.completions.create(model=SMALL, messages=HELLO, tools=TOOLS, tool_choice="auto")
    message = asked.choices[0].message
    assert message.tool_calls is not None
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    history: Any = [*HELLO, message.model_dump(), result]
    told = sdk.chat.completions.create(model=SMALL, messages=history, tools=TOOLS)
    assert told.choices[0].message.content == "Sunny."
    _, second = mistral.upstream.calls(CHAT)
    assert second.body["messages"][2]["tool_call_id"] == "gSIMJiOkT"


class Person(BaseModel):
    """What the model is to fill in."""

    name: str
    age: int


def test_a_parsed_answer(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer('{"name":"Ann",', '"age":7}')])
    reply = sdk.chat.completions.parse(model=SMALL, messages=HELLO, response_format=Person)
    assert reply.choices[0].message.parsed == Person(name="Ann", age=7)
    (call,) = mistral.upstream.calls(CHAT)
    assert call.body["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]


def test_embeddings_which_the_sdk_asks_for_in_base64(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0], [0.0, 2.0])])
    reply = sdk.embeddings.create(model="mistral-embed", input=["one", "two"])
    assert [item.embedding for item in reply.data] == [pytest.approx([0.6, 0.8]), pytest.approx([0.0, 1.0])]
    assert reply.usage.prompt_tokens == 11


def test_a_text_completion(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer("Sal", "ut")])
    assert sdk.completions.create(model=SMALL, prompt="Say hello.").choices[0].text == "Salut"
    streamed = sdk.completions.create(model=SMALL, prompt="Say hello.", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Salut"


def test_models(sdk: openai.OpenAI) -> None:
    assert f"{SMALL}:latest" in [model.id for model in sdk.models.list()]
    assert sdk.models.retrieve(SMALL).id == SMALL


def test_errors_are_the_sdks_own(mistral: Served, sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        sdk.chat.completions.create(model="nope", messages=HELLO)
    with pytest.raises(openai.BadRequestError, match="n must be 1"):
        sdk.chat.completions.create(model=SMALL, messages=HELLO, n=2)
    assert mistral.upstream.posts() == []


def test_a_failure_in_mid_answer_is_no_success(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/cut.sse"), cut=True)])
    with client_of(failing_mistral) as sdk, pytest.raises(openai.APIError, match="try again"):
        list(sdk.chat.completions.create(model=SMALL, messages=HELLO, stream=True))
