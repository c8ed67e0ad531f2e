"""`POST /v1/responses` as the official OpenAI SDK and plain HTTP clients meet it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem
from pydantic import BaseModel

from tests.clients.scripts import (
    CHAT,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    golden,
    mistral_error,
    ollama_answer,
    reasoning_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import sse_reply

SMALL = "mistral-small-latest"
PATH = "/v1/responses"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


def client_of(served: Served) -> openai.OpenAI:
    http = httpx.Client(timeout=CLIENT_SECONDS, trust_env=False)
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="any", max_retries=0, http_client=http)


@pytest.fixture
def sdk(mistral: Served) -> Iterator[openai.OpenAI]:
    with client_of(mistral) as one:
        yield one


def test_an_answer_is_read_as_text(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = sdk.responses.create(
        model=SMALL, input="Say hello.", instructions="Be brief.", max_output_tokens=9, temperature=0.5
    )
    assert (reply.output_text, reply.status, reply.model) == ("Bonjour", "completed", SMALL)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (9, 5, 14)
    sent = mistral.upstream.calls(CHAT)[0].body
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [("system", "Be brief."), ("user", "Say hello.")]
    assert (sent["max_tokens"], sent["temperature"]) == (9, 0.5)


def test_a_stream_is_read_event_by_event(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("Hm.", "Bonjour")])
    events = list(sdk.responses.create(model=SMALL, input="Hi", reasoning={"effort": "high"}, stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Bonjour"
    assert isinstance(last.response.output[0], ResponseReasoningItem)
    assert last.response.output[0].encrypted_content == "Hm."


def test_the_sdks_collecting_stream_sees_the_text_and_the_whole(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    with sdk.responses.stream(model=SMALL, input="Hi") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        whole = stream.get_final_response()
    assert (deltas, whole.output_text) == (["Bon", "jour"], "Bonjour")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_answered(mistral: Served, sdk: openai.OpenAI, *, stream: bool) -> None:
    calls = [tool_call("aaaaaaaaa", "get_weather", city="Paris"), tool_call("bbbbbbbbb", "get_weather", city="Rome")]
    mistral.upstream.script(CHAT, [calling_answer(*calls), answer("Sunny.")])
    history: Any = [{"role": "user", "content": "Weather?"}]
    asked: dict[str, Any] = {"model": SMALL, "tools": [WEATHER], "tool_choice": "required"}
    if stream:
        with sdk.responses.stream(input=history, **asked) as events:
            reply: Any = events.get_final_response()
    else:
        reply = sdk.responses.create(input=history, **asked)
    assert [(c.call_id, c.name, json.loads(c.arguments)) for c in reply.output] == [
        ("aaaaaaaaa", "get_weather", {"city": "Paris"}),
        ("bbbbbbbbb", "get_weather", {"city": "Rome"}),
    ]
    assert all(isinstance(call, ResponseFunctionToolCall) for call in reply.output)
    history += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in reply.output]
    history += [{"type": "function_call_output", "call_id": c.call_id, "output": "sunny"} for c in reply.output]
    assert sdk.responses.create(model=SMALL, input=history, tools=[WEATHER]).output_text == "Sunny."
    first, second = mistral.upstream.calls(CHAT)
    assert first.body["tool_choice"] in {"any", "required"}
    assert [m["role"] for m in second.body["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [m.get("tool_call_id") for m in second.body["messages"][2:]] == ["aaaaaaaaa", "bbbbbbbbb"]


def test_reasoning_is_sent_back_and_reaches_the_model(vllm: Served) -> None:
    vllm.upstream.script(CHAT, [reasoning_answer("Hm.", "Four."), answer("Five.")])
    with client_of(vllm) as sdk:
        first = sdk.responses.create(model="qwen3", input="2+2?", reasoning={"effort": "low"})
        history: Any = [{"role": "user", "content": "2+2?"}, *(item.to_dict() for item in first.output)]
        sdk.responses.create(model="qwen3", input=[*history, {"role": "user", "content": "2+3?"}])
    turns = vllm.upstream.calls(CHAT)[1].body["messages"]
    assert (turns[1]["reasoning"], turns[1]["content"]) == ("Hm.", "Four.")


class Answer(BaseModel):
    """What a test wants to hear."""

    number: int


def test_a_structured_answer_is_parsed(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer('{"number":4}')])
    reply = sdk.responses.parse(model=SMALL, input="2+2?", text_format=Answer)
    assert reply.output_parsed == Answer(number=4)
    sent = mistral.upstream.calls(CHAT)[0].body["response_format"]
    assert sent["json_schema"]["schema"]["properties"]["number"]["type"] == "integer"


def test_an_ollama_machine_answers_in_this_format_too(ollama_server: Served) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    with client_of(ollama_server) as sdk:
        events = list(sdk.responses.create(model="llama3.2:1b", input="Hi", stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text


def test_an_answer_cut_by_its_limit_is_incomplete(mistral: Served, sdk: openai.OpenAI) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", finish="length")])
    reply = sdk.responses.create(model=SMALL, input="Hi", max_output_tokens=1)
    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    *_, last = sdk.responses.create(model=SMALL, input="Hi", stream=True)
    assert last.type == "response.incomplete"


def test_a_failure_in_mid_stream_is_raised_by_the_sdk(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"))])
    seen, raised = [], ""
    with client_of(failing_mistral) as sdk:
        try:
            for event in sdk.responses.create(model=SMALL, input="Hi", stream=True):
                seen.append(event.type)  # noqa: PERF401 (what came before the error counts)
        except openai.APIError as error:
            raised = error.message
    assert "Service unavailable" in raised
    assert seen[-2:] == ["response.output_text.delta", "response.failed"]


def test_a_failure_in_mid_stream_ends_in_a_cut(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"))])
    body = {"model": SMALL, "input": "Hi", "stream": True}
    got, broken = b"", False
    with httpx.stream("POST", f"{failing_mistral.url}{PATH}", json=body, timeout=CLIENT_SECONDS) as reply:
        assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream")
        try:
            for part in reply.iter_raw():
                got += part
        except httpx.RemoteProtocolError:
            broken = True
    assert broken
    assert got.endswith(b"\n\n")
    assert got.rsplit(b"event: ", 1)[1].startswith(b'error\ndata: {"code":null,"error":{"message":"')


def test_a_stream_ends_without_a_done_line(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [answer("Hi")])
    body = {"model": SMALL, "input": "Hi", "stream": True}
    reply = httpx.post(f"{mistral.url}{PATH}", json=body, timeout=CLIENT_SECONDS)
    assert b"[DONE]" not in reply.content
    for block in reply.content.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = block.split(b"\n")
        value = json.loads(data.removeprefix(b"data: "))
        assert name == f"event: {value['type']}".encode()
        assert list(value) == sorted(value)


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model 'nope' not found"),
        ({"model": ""}, openai.BadRequestError, "model is required"),
        ({"previous_response_id": "resp_1"}, openai.BadRequestError, "send the whole conversation as input"),
        ({"conversation": "conv_1"}, openai.BadRequestError, "send the whole conversation as input"),
        ({"reasoning": {"effort": "bogus"}}, openai.BadRequestError, 'invalid reasoning value: "bogus"'),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, openai.BadRequestError, "send functions"),
        ({"model": "mistral-embed"}, openai.BadRequestError, '"mistral-embed" does not support chat'),
    ],
)
def test_a_mistake_is_raised_with_its_sentence(
    mistral: Served, sdk: openai.OpenAI, asked: dict[str, Any], kind: type[openai.APIStatusError], words: str
) -> None:
    with pytest.raises(kind) as caught:
        sdk.responses.create(**{"model": SMALL, "input": "Hi", **asked})
    assert isinstance(caught.value.body, dict)
    assert words in caught.value.body["message"]
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
    assert mistral.upstream.posts() == []


def test_a_rate_limit_is_raised_with_when_to_come_back(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error("429-rate-limited.json", **{"retry-after": "7"})])
    with client_of(failing_mistral) as sdk, pytest.raises(openai.RateLimitError) as caught:
        sdk.responses.create(model=SMALL, input="Hi", stream=True)
    assert int(caught.value.response.headers["retry-after"]) > 0
