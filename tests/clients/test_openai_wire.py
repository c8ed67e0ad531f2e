"""OpenAI's routes byte by byte, over every kind of upstream: what any client sees, whatever library it uses."""

import base64
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    FIM,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    embeddings,
    golden,
    golden_text,
    mistral_error,
    ollama_answer,
    reasoning_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import ndjson_reply, sse_reply

PATH = "/v1/chat/completions"
SMALL = "mistral-small-latest"
PLAIN = "ministral-3b-2512"
JSON_UTF8 = "application/json; charset=utf-8"
HELLO = [{"role": "user", "content": "Say hello in French."}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
SEES = [{"role": "user", "content": [{"type": "text", "text": "What?"},
         {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}]  # fmt: skip
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
USED = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}


def wire_of(served: Served) -> httpx.Client:
    return httpx.Client(base_url=served.url, timeout=CLIENT_SECONDS, trust_env=False)


@pytest.fixture
def wire(mistral: Served) -> Iterator[httpx.Client]:
    with wire_of(mistral) as one:
        yield one


@pytest.fixture
def vllm_wire(vllm: Served) -> Iterator[httpx.Client]:
    with wire_of(vllm) as one:
        yield one


@pytest.fixture
def ollama_wire(ollama_server: Served) -> Iterator[httpx.Client]:
    with wire_of(ollama_server) as one:
        yield one


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == JSON_UTF8
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return response.status_code, error["type"], error["message"]


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
    *events, done, rest = response.content.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: {") and b"\n" not in event for event in events)
    return [json.loads(event[6:]) for event in events]


def sent(served: Served, method_path: str = CHAT) -> dict[str, Any]:
    (call,) = served.upstream.calls(method_path)
    body = call.body
    assert isinstance(body, dict)
    return body


# --- chat completions


@pytest.mark.parametrize("path", [PATH, "/chat/completions"])
def test_a_whole_reply_has_ollamas_keys_in_ollamas_order(mistral: Served, wire: httpx.Client, path: str) -> None:
    mistral.upstream.script(CHAT, [answer("Sal", "ut")])
    reply = wire.post(path, json={"model": SMALL, "messages": HELLO})
    value = reply.json()
    assert reply.headers["content-type"] == JSON_UTF8
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert re.fullmatch(r"chatcmpl-\w+", value["id"])
    assert (value["object"], value["model"], value["system_fingerprint"]) == ("chat.completion", SMALL, "fp_ollama")
    assert isinstance(value["created"], int)
    message = {"role": "assistant", "content": "Salut"}
    assert value["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert value["usage"] == USED


def test_a_stream_is_events_that_begin_with_a_role_and_end_with_done(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    told = chunks(wire.post(PATH, json={"model": SMALL, "messages": HELLO, "stream": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in told]
    assert {chunk["object"] for chunk in told} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in told}) == 1
    assert [delta.get("role") for delta in deltas] == ["assistant", *[None] * (len(deltas) - 1)]
    assert "".join(delta.get("content", "") for delta in deltas) == golden_text("mistral/text.sse")
    assert [chunk["choices"][0]["finish_reason"] for chunk in told] == [*[None] * (len(told) - 1), "stop"]
    assert not any("usage" in chunk for chunk in told)


def test_counts_come_in_a_chunk_of_their_own_when_asked_for(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Salut", finish="length")])
    body = {"model": SMALL, "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    *_, finish, last = chunks(wire.post(PATH, json=body))
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "length")
    assert (last["choices"], last["usage"]) == ([], USED)


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_has_a_field_of_its_own(mistral: Served, wire: httpx.Client, stream: bool) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("Hm.", "Salut")])
    body = {"model": SMALL, "messages": HELLO, "reasoning_effort": "high", "stream": stream}
    reply = wire.post(PATH, json=body)
    if stream:
        parts = [chunk["choices"][0]["delta"] for chunk in chunks(reply)]
    else:
        parts = [reply.json()["choices"][0]["message"]]
    assert "".join(part.get("reasoning", "") for part in parts) == "Hm."
    assert "".join(part.get("content", "") for part in parts) == "Salut"
    assert sent(mistral)["reasoning_effort"] == "high"


@pytest.mark.parametrize("stream", [True, False])
def test_calls_are_whole_and_end_the_answer(mistral: Served, wire: httpx.Client, stream: bool) -> None:
    calls = [tool_call("gSIMJiOkT", "get_weather", city="Orléans"), tool_call("", "get_weather")]
    mistral.upstream.script(CHAT, [calling_answer(*calls)])
    body = {"model": SMALL, "messages": HELLO, "tools": [TOOL], "tool_choice": "required", "stream": stream}
    reply = wire.post(PATH, json=body)
    if stream:
        told = chunks(reply)
        (written,) = [c["choices"][0]["delta"]["tool_calls"] for c in told if "tool_calls" in c["choices"][0]["delta"]]
        choice = told[-1]["choices"][0]
    else:
        (choice,) = reply.json()["choices"]
        written = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [(call["index"], call["type"]) for call in written] == [(0, "function"), (1, "function")]
    assert [json.loads(call["function"]["arguments"]) for call in written] == [{"city": "Orléans"}, {}]
    assert written[0]["id"] == "gSIMJiOkT"
    assert written[1]["id"]
    assert sent(mistral)["tool_choice"] == "required"


def test_every_field_arrives_at_mistral_in_its_own_words(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("{}")])
    body = {
        "model": SMALL,
        "messages": [{"role": "developer", "content": "Be kind."}, *SEES],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "stop": "x",
        "user": "u",
        "logit_bias": {"1": 1},
        "service_tier": "auto",
    }
    assert wire.post(PATH, json=body, headers={"content-type": "text/plain"}).status_code == 200
    asked = sent(mistral)
    assert asked["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What?"},
         {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"}]},
    ]  # fmt: skip
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    assert asked["response_format"]["json_schema"]["schema"] == {**SCHEMA, "additionalProperties": False}
    named = {"parallel_tool_calls": False, "max_tokens": 7, "temperature": 0.5, "random_seed": 3, "stop": ["x"]}
    assert {key: asked[key] for key in named} == named
    assert asked.keys().isdisjoint({"user", "logit_bias", "service_tier", "top_p", "seed"})


def test_what_was_not_said_is_not_sent(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    nulls = dict.fromkeys(("temperature", "top_p", "stop", "seed", "tools", "n", "max_tokens", "response_format"))
    assert wire.post(PATH, json={"model": SMALL, "messages": HELLO, **nulls}).status_code == 200
    assert sent(mistral).keys() == {"model", "messages", "stream"}


def test_a_tool_turn_goes_back_under_the_same_id(vllm: Served, vllm_wire: httpx.Client) -> None:
    vllm.upstream.script(CHAT, [reasoning_answer("Hm.", "Sunny.")])
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Orléans"}'}}
    history = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "Look."},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    body = {"model": "qwen3", "messages": history, "tools": [TOOL], "top_k": 5, "repetition_penalty": 1.1}
    message = vllm_wire.post(PATH, json=body).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Sunny.", "reasoning": "Hm."}
    asked = sent(vllm)
    assert asked["messages"][1]["tool_calls"][0]["id"] == asked["messages"][2]["tool_call_id"] == "call_1"
    assert (asked["messages"][1]["reasoning"], asked["top_k"], asked["repetition_penalty"]) == ("Look.", 5, 1.1)


# --- an Ollama machine behind


def test_an_ollama_machine_is_asked_natively_and_answers_in_openais_words(
    ollama_server: Served, ollama_wire: httpx.Client
) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-tools-native")])
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Nice"}'}}
    body = {
        "model": "llama3.2:1b",
        "messages": [
            *SEES,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [TOOL],
        "reasoning": {"effort": "xhigh"},
        "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
        "max_tokens": 9,
        "stop": ["x"],
        "top_k": 3,
        "seed": 1,
        "repetition_penalty": 1.2,
        "logprobs": True,
        "top_logprobs": 2,
        "stream": True,
    }
    told = chunks(ollama_wire.post(PATH, json=body))
    calls = [c for chunk in told for c in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert calls
    assert all(c["id"] and isinstance(json.loads(c["function"]["arguments"]), dict) for c in calls)
    assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"
    asked, called = sent(ollama_server, OLLAMA_CHAT), {"index": 0, "name": "get_weather"}
    assert asked["messages"] == [
        {"role": "user", "content": "What?", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "function": {**called, "arguments": {"city": "Nice"}}}],
        },
        {"role": "tool", "content": "sunny", "tool_name": "get_weather", "tool_call_id": "call_1"},
    ]  # fmt: skip
    assert asked["options"] == {"num_predict": 9, "stop": ["x"], "top_k": 3, "seed": 1, "repeat_penalty": 1.2}
    assert (asked["think"], asked["format"], asked["logprobs"], asked["top_logprobs"]) == ("max", SCHEMA, True, 2)
    assert asked["tools"][0]["function"]["name"] == "get_weather"


@pytest.mark.parametrize("stream", [True, False])
def test_a_text_of_an_ollama_machine_is_told_whole_or_in_pieces(
    ollama_server: Served, ollama_wire: httpx.Client, stream: bool
) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ndjson_reply(golden("ollama/chat-text.ndjson"))])
    reply = ollama_wire.post(PATH, json={"model": "llama3.2:1b", "messages": HELLO, "stream": stream})
    if stream:
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(reply))
    else:
        text = reply.json()["choices"][0]["message"]["content"]
    assert text == golden_text("ollama/chat-text.ndjson")


# --- errors


@pytest.mark.parametrize("path", [PATH, "/chat/completions", "/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize(("body", "text"), [(b"", "EOF"), (b"{", "unexpected EOF")])
def test_a_body_that_cannot_be_read_is_a_400(wire: httpx.Client, path: str, body: bytes, text: str) -> None:
    assert refusal(wire.post(path, content=body)) == (400, "invalid_request_error", text)


def test_an_unknown_model_is_a_404_in_openais_shape(wire: httpx.Client) -> None:
    reply = wire.post(PATH, json={"model": "Nope:7b", "messages": HELLO})
    assert refusal(reply) == (404, "not_found_error", "model 'Nope:7b' not found")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": []}, "[] is too short - 'messages'"),
        ({"model": PLAIN, "tools": [TOOL]}, f"registry.ollama.ai/library/{PLAIN}:latest does not support tools"),
        ({"n": 3}, "n must be 1; send the request again for each further answer"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_upstream_is_asked(
    mistral: Served, wire: httpx.Client, fields: dict[str, Any], text: str
) -> None:
    reply = wire.post(PATH, json={"model": SMALL, "messages": HELLO, **fields})
    assert refusal(reply) == (400, "invalid_request_error", text)
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_of_the_upstream_keeps_its_status(failing_mistral: Served, stream: bool) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error("429-rate-limited.json", **{"retry-after": "30"})])
    with wire_of(failing_mistral) as wire:
        reply = wire.post(PATH, json={"model": SMALL, "messages": HELLO, "stream": stream})
    assert refusal(reply)[:2] == (429, "rate_limit_error")
    assert reply.headers["retry-after"] == "30"


def test_a_failure_in_mid_answer_is_told_and_then_cut(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/cut.sse"), cut=True)])
    body = {"model": SMALL, "messages": HELLO, "stream": True}
    got: list[bytes] = []
    with wire_of(failing_mistral) as wire, wire.stream("POST", PATH, json=body) as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            got.extend(reply.iter_raw())
    *events, error, rest = b"".join(got).split(b"\n\n")
    assert (rest, bool(events)) == (b"", True)
    assert all(b'"choices"' in event for event in events)
    told = json.loads(error.removeprefix(b"data: "))["error"]
    assert told["type"] == "api_error"
    assert "try again" in told["message"]


def test_a_failure_of_a_reply_that_is_not_streamed_is_a_status(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/cut.sse"), cut=True)])
    with wire_of(failing_mistral) as wire:
        assert refusal(wire.post(PATH, json={"model": SMALL, "messages": HELLO}))[:2] == (502, "api_error")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [("GET", "/v1/nope", 404, b"404 page not found"), ("GET", PATH, 405, b"405 method not allowed")],
)
def test_a_wrong_path_or_method_is_plain_text_as_everywhere(
    wire: httpx.Client, method: str, path: str, status: int, text: bytes
) -> None:
    reply = wire.request(method, path)
    assert (reply.status_code, reply.content) == (status, text)


# --- text completions, embeddings, models


def test_a_prompt_is_completed(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Sal", "ut")])
    value = wire.post("/v1/completions", json={"model": SMALL, "prompt": ["Say hello."], "max_tokens": 5}).json()
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert re.fullmatch(r"cmpl-\w+", value["id"])
    assert value["object"] == "text_completion"
    assert value["choices"] == [{"index": 0, "text": "Salut", "finish_reason": "stop"}]
    assert value["usage"] == USED


def test_a_gap_is_filled_in_pieces(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(FIM, [answer("a, ", "b")])
    body = {"model": "codestral-2508", "prompt": "def f(", "suffix": "): ...", "stream": True}
    told = chunks(wire.post("/v1/completions", json={**body, "stream_options": {"include_usage": True}}))
    assert "".join(choice["text"] for chunk in told for choice in chunk["choices"]) == "a, b"
    assert (told[-1]["choices"], told[-1]["usage"]) == ([], USED)
    asked = sent(mistral, FIM)
    assert (asked["prompt"], asked["suffix"]) == ("def f(", "): ...")


def test_vectors_are_numbers_or_packed_floats(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0, 0.0], [0.0, 0.0, 2.0])])
    body = {"model": "mistral-embed", "input": ["one", "two"]}
    value = wire.post("/v1/embeddings", json=body).json()
    packed = wire.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()
    assert list(value) == ["object", "data", "model", "usage"]
    assert value["usage"] == {"prompt_tokens": 11, "total_tokens": 11}
    assert [item["embedding"] for item in value["data"]] == [pytest.approx([0.6, 0.8, 0.0]), [0.0, 0.0, 1.0]]
    for plain, item in zip(value["data"], packed["data"], strict=True):
        floats = struct.unpack("<3f", base64.b64decode(item["embedding"]))
        assert floats == pytest.approx(plain["embedding"])


def test_models_are_listed_and_named(wire: httpx.Client) -> None:
    listed = wire.get("/v1/models").json()
    assert listed["object"] == "list"
    assert {entry["id"] for entry in listed["data"]} >= {f"{SMALL}:latest", f"{PLAIN}:latest"}
    assert all(list(entry) == ["id", "object", "created", "owned_by"] for entry in listed["data"])
    for name in (SMALL, f"library/{SMALL}:latest", f"library%2F{SMALL}"):
        one = wire.get(f"/v1/models/{name}").json()
        assert (one["id"], one["object"], one["owned_by"]) == (name.replace("%2F", "/"), "model", "library")
    assert refusal(wire.get("/v1/models/nope")) == (404, "not_found_error", "model 'nope' not found")


@pytest.mark.parametrize("path", ["/v1/models/", f"/v1/models/{SMALL}/"])
def test_a_trailing_slash_is_redirected_away(wire: httpx.Client, path: str) -> None:
    reply = wire.get(path)
    assert (reply.status_code, reply.headers["location"]) == (301, path.rstrip("/"))
