"""The messages API as its clients meet it: byte by byte, and through the official Python SDK, unchanged."""

import json
import re
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from tests.clients.scripts import (
    CHAT,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    golden,
    golden_text,
    mistral_error,
    ollama_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import Reply, json_reply, sse_reply

SMALL, PLAIN = "mistral-small-latest", "ministral-3b-2512"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
HELLO: Any = [{"role": "user", "content": "Say hello in French."}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PLACEHOLDER = "ollama"
NINE = re.compile(r"[a-zA-Z0-9]{9}")


def sdk(served: Served) -> anthropic.Anthropic:
    """Return the SDK's client as Claude Code sets it up behind `ollama launch`."""
    return anthropic.Anthropic(
        base_url=served.url,
        auth_token=PLACEHOLDER,
        max_retries=0,
        timeout=CLIENT_SECONDS,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
    )


@pytest.fixture
def client(mistral: Served) -> Iterator[anthropic.Anthropic]:
    with sdk(mistral) as one:
        yield one


@pytest.fixture
def failing_client(failing_mistral: Served) -> Iterator[anthropic.Anthropic]:
    with sdk(failing_mistral) as one:
        yield one


@pytest.fixture
def wire(mistral: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


def sent(served: Served, method_path: str = CHAT) -> dict[str, Any]:
    """Return the body of the only upstream call there was."""
    (request,) = served.upstream.calls(method_path)
    assert isinstance(request.body, dict)
    return request.body


def message_body(**fields: Any) -> dict[str, Any]:
    return {"model": SMALL, "max_tokens": 100, "messages": HELLO, **fields}


def frames(stream: str) -> list[tuple[str, Any]]:
    """Return name and data of every event."""
    *events, rest = stream.split("\n\n")
    assert rest == ""
    split = [event.split("\n") for event in events]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in split]


# --- byte by byte


def test_a_stream_has_the_events_of_the_messages_api(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = wire.post("/v1/messages?beta=true", json=message_body(stream=True))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    events = frames(reply.text)
    assert all(name == data["type"] for name, data in events)
    (_, start), *rest = events
    message_id = start["message"].pop("id")
    assert re.fullmatch(r"msg_[0-9a-f]{24}", message_id)
    assert start["message"] == {
        "type": "message",
        "role": "assistant",
        "model": SMALL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 0},
    }
    assert [data for _, data in rest] == [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Bon"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "jour"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 9, "output_tokens": 5},
        },
        {"type": "message_stop"},
    ]


def test_a_whole_message_is_one_json_object(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Bonjour", finish="length")])
    reply = wire.post("/v1/messages", json=message_body(), headers={"anthropic-version": "2023-06-01"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json; charset=utf-8")
    message = reply.json()
    assert list(message) == ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"]
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "Bonjour"}], "max_tokens")


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        (b"", 400, "invalid_request_error", "missing request body"),
        (b"{", 400, "invalid_request_error", "unexpected EOF"),
        (b"{}", 400, "invalid_request_error", "model is required"),
        (
            json.dumps(message_body(max_tokens=0)).encode(),
            400,
            "invalid_request_error",
            "max_tokens is required and must be positive",
        ),
        (json.dumps(message_body(model="nope")).encode(), 404, "not_found_error", "model 'nope' not found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_answer_has_a_status_and_the_apis_shape(
    wire: httpx.Client, body: bytes, status: int, kind: str, words: str, *, stream: bool
) -> None:
    if stream:
        body = body.replace(b'{"model"', b'{"stream": true, "model"')
    reply = wire.post("/v1/messages", content=body)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.json() == {
        "type": "error",
        "error": {"type": kind, "message": words},
        "request_id": f"req_{reply.headers['x-request-id']}",
    }


@pytest.mark.parametrize("path", ["/v1/messages/nope", "/v1/messages/batches"])
def test_paths_ollama_does_not_serve_are_its_plain_404(wire: httpx.Client, path: str) -> None:
    reply = wire.post(path, json={})
    assert (reply.status_code, reply.text) == (404, "404 page not found")


def test_a_failure_in_mid_answer_is_an_error_event_and_a_cut(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/cut.sse"), cut=True)])
    got: list[bytes] = []
    url = f"{failing_mistral.url}/v1/messages"
    with (
        httpx.stream("POST", url, json=message_body(stream=True), timeout=CLIENT_SECONDS, trust_env=False) as reply,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        got.extend(reply.iter_raw())
    events = frames(b"".join(got).decode())
    assert events[0][0] == "message_start"
    name, data = events[-1]
    assert (name, data["type"], data["error"]["type"]) == ("error", "error", "api_error")
    assert "message_stop" not in dict(events)


# --- through the SDK


def test_create_returns_a_message(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    message = client.messages.create(
        model=SMALL,
        max_tokens=50,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=HELLO,
        stop_sequences=["END"],
        extra_body={"temperature": 0.5, "top_p": 0.9},
        metadata={"user_id": "somebody"},
    )
    assert [(block.type, getattr(block, "text", "")) for block in message.content] == [("text", "Bonjour")]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 9, 5)
    body = sent(mistral)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (body["max_tokens"], body["stop"], body["temperature"], body["top_p"]) == (50, ["END"], 0.5, 0.9)
    assert "metadata" not in body


def test_a_stream_gives_its_text_piece_by_piece(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour", ", été")])
    with client.messages.stream(model=SMALL, max_tokens=50, messages=HELLO) as stream:
        assert list(stream.text_stream) == ["Bon", "jour", ", été"]
        message = stream.get_final_message()
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 9, 5)


def test_thinking_is_a_block_of_its_own(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2", "4")])
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(model=SMALL, max_tokens=2000, messages=HELLO, thinking=thinking) as stream:
        message = stream.get_final_message()
    thought, said = message.content
    assert (thought.type, said.type) == ("thinking", "text")
    assert (thought.thinking, thought.signature, said.text) == ("2+2", "", "4")
    assert sent(mistral)["reasoning_effort"] == "high"


def test_thinking_comes_back_with_the_history(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2", "4"), answer("8")])
    first = client.messages.create(model=SMALL, max_tokens=2000, messages=HELLO)
    history: Any = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": "Twice?"}]
    assert client.messages.create(model=SMALL, max_tokens=2000, messages=history).stop_reason == "end_turn"
    turn = mistral.upstream.calls(CHAT)[-1].body["messages"][1]
    assert [part["type"] for part in turn["content"]] == ["thinking", "text"]


def test_a_model_that_cannot_think_answers_all_the_same(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [answer("Bonjour")])
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    message = client.messages.create(model=PLAIN, max_tokens=2000, messages=HELLO, thinking=thinking)
    assert message.stop_reason == "end_turn"
    assert "reasoning_effort" not in sent(mistral)


def test_a_tool_is_called_and_its_result_understood(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(
        CHAT, [calling_answer(tool_call("gSIMJiOkT", "get_weather", city="Paris")), answer("Sunny.")]
    )
    with client.messages.stream(model=SMALL, max_tokens=99, messages=HELLO, tools=[WEATHER]) as stream:
        first = stream.get_final_message()
    (call,) = first.content
    assert (first.stop_reason, call.type) == ("tool_use", "tool_use")
    assert (call.id, call.name, call.input) == ("gSIMJiOkT", "get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "22 C"}]}
    history: Any = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    second = client.messages.create(model=SMALL, max_tokens=99, messages=history, tools=[WEATHER])
    assert [getattr(block, "text", "") for block in second.content] == ["Sunny."]
    _, turn, told, *rest = mistral.upstream.calls(CHAT)[-1].body["messages"]
    assert turn["tool_calls"][0]["id"] == told["tool_call_id"] == "gSIMJiOkT"
    assert (told["role"], told["content"], told["name"]) == ("tool", "22 C", "get_weather")
    assert rest[-1] == {"role": "user", "content": "So?"}


def test_several_tools_called_at_once_are_blocks_in_order(mistral: Served, client: anthropic.Anthropic) -> None:
    calls = [tool_call(f"aaaaaaaa{n}", "get_weather", city=city) for n, city in enumerate(("Paris", "Rome"))]
    mistral.upstream.script(CHAT, [calling_answer(*calls)])
    message = client.messages.create(model=SMALL, max_tokens=99, messages=HELLO, tools=[WEATHER])
    assert [getattr(block, "input", None) for block in message.content] == [{"city": "Paris"}, {"city": "Rome"}]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, {"any", "required"}),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}, "get_weather"),
    ],
)
def test_the_choice_of_a_tool_reaches_the_model(
    mistral: Served, client: anthropic.Anthropic, choice: Any, written: Any
) -> None:
    mistral.upstream.script(CHAT, [answer("Bonjour")])
    client.messages.create(model=SMALL, max_tokens=99, messages=HELLO, tools=[WEATHER], tool_choice=choice)
    got = sent(mistral)["tool_choice"]
    got = got["function"]["name"] if isinstance(got, dict) else got
    assert got in written if isinstance(written, set) else got == written
    assert sent(mistral).get("parallel_tool_calls") is (False if "disable_parallel_tool_use" in choice else None)


def test_images_reach_the_model_from_users_and_from_tools(mistral: Served, client: anthropic.Anthropic) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    history: Any = [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_01", "content": [PICTURE]}]},
    ]
    client.messages.create(model=SMALL, max_tokens=99, messages=history, tools=[WEATHER])
    written = json.dumps(sent(mistral)["messages"])
    assert written.count(f"data:image/png;base64,{PIXEL}") == 2
    (ident,) = {call["id"] for turn in sent(mistral)["messages"] for call in turn.get("tool_calls", [])}
    assert NINE.fullmatch(ident)


def test_a_link_to_an_image_is_refused(client: anthropic.Anthropic) -> None:
    link: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/x.png"}}
    with pytest.raises(anthropic.BadRequestError, match="Only base64 images are supported"):
        client.messages.create(model=SMALL, max_tokens=9, messages=[{"role": "user", "content": [link]}])


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model 'claude-nope' not found"):
        client.messages.create(model="claude-nope", max_tokens=9, messages=HELLO)


def test_a_built_in_tool_is_refused_by_name(mistral: Served, client: anthropic.Anthropic) -> None:
    tools: Any = [{"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(anthropic.BadRequestError, match="web_search_20250305"):
        client.messages.create(model=SMALL, max_tokens=9, messages=HELLO, tools=tools)
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_rate_limit_says_when_to_try_again(
    failing_mistral: Served, failing_client: anthropic.Anthropic, *, stream: bool
) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error("429-rate-limited.json", **{"retry-after": "17"})])
    with pytest.raises(anthropic.RateLimitError) as caught:
        failing_client.messages.create(model=SMALL, max_tokens=9, messages=HELLO, stream=stream)
    assert caught.value.response.headers["retry-after"] == "17"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "rate_limit_error"


def test_a_busy_upstream_reads_as_overloaded(failing_mistral: Served, failing_client: anthropic.Anthropic) -> None:
    failing_mistral.upstream.script(CHAT, [json_reply({"message": "busy"}, 503, {"retry-after": "60"})])
    with pytest.raises(anthropic.APIStatusError) as caught:
        failing_client.messages.create(model=SMALL, max_tokens=9, messages=HELLO)
    assert caught.value.status_code == 503
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(
    "reply",
    [
        sse_reply(golden("mistral/error-object.sse")),
        sse_reply(golden("mistral/cut.sse")),
        sse_reply(golden("mistral/cut.sse"), cut=True),
    ],
    ids=["error-object", "ended-early", "cut"],
)
def test_a_failure_in_mid_stream_raises_after_the_text_so_far(
    failing_mistral: Served, failing_client: anthropic.Anthropic, reply: Reply
) -> None:
    failing_mistral.upstream.script(CHAT, [reply])
    got: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError, match="api_error"),
        failing_client.messages.stream(model=SMALL, max_tokens=9, messages=HELLO) as stream,
    ):
        got.extend(stream.text_stream)
    assert got


def test_tokens_are_counted_without_asking_the_model(mistral: Served, client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=SMALL, messages=HELLO, system="x" * 380, tools=[WEATHER])
    alone = client.messages.count_tokens(model=SMALL, messages=HELLO)
    assert alone.input_tokens == len(HELLO[0]["content"]) // 4
    assert counted.input_tokens > alone.input_tokens + 95
    assert mistral.upstream.posts() == []


# --- in front of an Ollama machine


def test_an_ollama_machine_answers_too(ollama_server: Served) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with sdk(ollama_server) as client:
        stream = client.messages.stream(model="llama3.2:1b", max_tokens=50, messages=HELLO, thinking=thinking)
        with stream as events:
            message = events.get_final_message()
    assert [getattr(block, "text", "") for block in message.content] == [golden_text("ollama/chat-text.ndjson")]
    body = sent(ollama_server, OLLAMA_CHAT)
    assert (body["options"], "think" in body) == ({"num_predict": 50}, False)
