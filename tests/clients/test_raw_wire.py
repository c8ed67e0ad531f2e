"""The native routes byte by byte: what any client sees, whatever library it uses."""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    answer,
    calling_answer,
    embeddings,
    golden,
    golden_text,
    mistral_error,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import sse_reply

SMALL = "mistral-small-latest"
PLAIN = "ministral-3b-2512"
EMBED = "mistral-embed"
JSON_UTF8 = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
HELLO = [{"role": "user", "content": "Say hello in French."}]
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
HEX64 = re.compile(r"[0-9a-f]{64}")
COUNTS = [
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]
BODIES = ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/pull"]


def has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    if isinstance(value, list):
        return any(map(has_null, value))
    return value is None


def keeps_the_wires_promises(response: httpx.Response) -> None:
    """Check what holds for every reply: no null, no blank line, errors as one string."""
    response.read()
    kind = response.headers.get("content-type", "")
    if kind.startswith(NDJSON):
        assert kind == NDJSON
        *lines, rest = response.content.split(b"\n")
        assert rest == b""
    elif kind.startswith("application/json") and response.content:
        assert not response.content.endswith(b"\n")
        lines = [response.content]
    else:
        return
    for line in lines:
        value = json.loads(line)
        assert not has_null(value), line
        if response.status_code >= 400:
            assert isinstance(value["error"], str)
            assert value["error"]


@pytest.fixture
def wire(mistral: Served) -> Iterator[httpx.Client]:
    hooks = {"response": [keeps_the_wires_promises]}
    with httpx.Client(base_url=mistral.url, timeout=CLIENT_SECONDS, trust_env=False, event_hooks=hooks) as one:
        yield one


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"].startswith("application/json")
    return response.status_code, response.json()["error"]


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200
    assert response.headers["content-type"] == NDJSON
    return [json.loads(line) for line in response.content.split(b"\n")[:-1]]


# --- transport


def test_the_root_says_that_ollama_is_running(wire: httpx.Client) -> None:
    reply = wire.get("/")
    assert (reply.status_code, reply.content) == (200, b"Ollama is running")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["content-length"] == "17"


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_head_answers_like_get_without_a_body(wire: httpx.Client, path: str) -> None:
    head, get = wire.head(path), wire.get(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]


def test_the_version_is_plain_and_new_enough_for_every_client(wire: httpx.Client) -> None:
    reply = wire.get("/api/version")
    assert reply.headers["content-type"] == JSON_UTF8
    assert reply.json().keys() == {"version"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", reply.json()["version"])
    assert tuple(map(int, reply.json()["version"].split("."))) >= (0, 14, 0)


def test_the_status_tells_that_there_is_no_cloud(wire: httpx.Client) -> None:
    assert wire.get("/api/status").json() == {"cloud": {"disabled": True, "source": "config"}}


def test_json_replies_are_compact(wire: httpx.Client) -> None:
    reply = wire.get("/api/status")
    assert reply.content == b'{"cloud":{"disabled":true,"source":"config"}}'
    assert reply.headers["content-type"] == JSON_UTF8


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/api/nope", "/nope", "/api"])
def test_an_unknown_path_is_a_plain_404(wire: httpx.Client, method: str, path: str) -> None:
    reply = wire.request(method, path)
    assert (reply.status_code, reply.content) == (404, b"404 page not found")
    assert reply.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/chat", {"POST"}),
        ("GET", "/api/show", {"POST"}),
        ("POST", "/api/tags", {"GET", "HEAD"}),
        ("POST", "/api/ps", {"GET"}),
    ],
)
def test_a_wrong_method_is_a_plain_405_that_names_the_right_ones(
    wire: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    reply = wire.request(method, path)
    assert (reply.status_code, reply.content) == (405, b"405 method not allowed")
    assert reply.headers["content-type"] == "text/plain"
    assert set(reply.headers["allow"].replace(" ", "").split(",")) == allowed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/tags/", 301), ("GET", "/api/version/", 301), ("POST", "/api/chat/", 307)],
)
def test_a_trailing_slash_is_redirected_away(wire: httpx.Client, method: str, path: str, status: int) -> None:
    reply = wire.request(method, path)
    assert reply.status_code == status
    assert reply.url.join(reply.headers["location"]).path == path.rstrip("/")


# --- request bodies


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
@pytest.mark.parametrize("path", BODIES)
def test_an_empty_body_is_refused(wire: httpx.Client, path: str, body: bytes) -> None:
    assert refusal(wire.post(path, content=body)) == (400, "missing request body")


@pytest.mark.parametrize("body", [b'{"model":', b"{bad}", b"[]", b'"text"', b"7", b'{"model":"\xff"', b"\x00"])
@pytest.mark.parametrize("path", BODIES)
def test_a_body_that_is_no_json_object_is_a_400(wire: httpx.Client, path: str, body: bytes) -> None:
    assert refusal(wire.post(path, content=body))[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"model": 7},
        {"messages": {}},
        {"messages": [{"role": "user", "content": ["a"]}]},
        {"messages": [{"role": "user", "content": "a", "images": ["data:image/png;base64,AAAA"]}]},
        {"messages": [{"role": "user", "content": "a", "images": ["@@@"]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        {"stream": "x"},
        {"options": []},
        {"tools": {}},
        {"think": 1},
        {"keep_alive": True},
    ],
    ids=lambda fields: json.dumps(fields)[:50],
)
def test_a_field_of_the_wrong_type_is_a_400(mistral: Served, wire: httpx.Client, fields: dict[str, Any]) -> None:
    reply = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "stream": False, **fields})
    assert refusal(reply)[0] == 400
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "1" + "0" * 5000, "1e400", "NaN", "-Infinity"], ids=lambda n: n[:9]
)
@pytest.mark.parametrize(
    "template",
    [
        '{"options":{"seed":%s}}',
        '{"options":{"temperature":%s}}',
        '{"keep_alive":%s}',
        '{"top_logprobs":%s}',
    ],
)
def test_a_number_beyond_all_bounds_is_the_clients_mistake(
    mistral: Served, wire: httpx.Client, template: str, number: str
) -> None:
    start = json.dumps({"model": SMALL, "messages": HELLO})[:-1]
    reply = wire.post("/api/chat", content=f"{start},{template[1:] % number}")
    assert refusal(reply)[0] == 400
    assert mistral.upstream.posts() == []


def test_json_nested_too_deeply_is_a_400(wire: httpx.Client) -> None:
    body = '{"model":"m","options":{"x":' + "[" * 100_000 + "]" * 100_000 + "}}"
    assert refusal(wire.post("/api/chat", content=body))[0] == 400


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_the_content_type_of_a_request_is_ignored(mistral: Served, wire: httpx.Client, kind: str) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    body = json.dumps({"model": SMALL, "messages": HELLO, "stream": False})
    reply = wire.post("/api/chat", content=body, headers={"content-type": kind})
    assert reply.json()["message"]["content"] == "Salut"


@pytest.mark.parametrize(
    "body",
    [
        {"Model": SMALL, "MESSAGES": HELLO, "Stream": False},
        {"model": SMALL, "messages": [{"Role": "USER", "Content": "Say hello in French."}], "stream": False},
        {"model": SMALL, "messages": HELLO, "stream": False, "tool_choice": "auto", "metadata": {"a": 1}},
        {"model": SMALL, "messages": HELLO, "stream": False, "options": None, "format": None, "tools": None,
         "keep_alive": None, "think": None, "logprobs": None, "top_logprobs": None, "truncate": None},
        {"model": SMALL, "messages": HELLO, "stream": False, "format": "", "tools": [], "options": {}},
        {"model": SMALL, "stream": False, "options": {"temperature": None, "nonsense": 1, "mirostat": 2},
         "messages": [{**HELLO[0], "images": [], "tool_calls": None, "thinking": None}]},
    ],
    ids=["upper-case-keys", "upper-case-message", "unknown-fields", "nulls", "empty-values", "null-options"],
)  # fmt: skip
def test_what_ollama_takes_lightly_is_taken_lightly(mistral: Served, wire: httpx.Client, body: dict[str, Any]) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    reply = wire.post("/api/chat", json=body)
    assert (reply.status_code, reply.json()["message"]["content"]) == (200, "Salut")
    (call,) = mistral.upstream.calls(CHAT)
    assert call.body["messages"] == HELLO


def test_the_last_of_two_equal_keys_wins_and_what_follows_the_object_is_ignored(
    mistral: Served, wire: httpx.Client
) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    body = json.dumps({"model": SMALL, "messages": HELLO, "stream": False}).encode()
    reply = wire.post("/api/chat", content=b'{"model":"nope",' + body[1:] + b"\n{} trailing")
    assert (reply.status_code, reply.json()["model"]) == (200, SMALL)


@pytest.mark.parametrize("path", ["/api/show", "/api/pull"])
def test_show_and_pull_read_name_as_well_as_model(wire: httpx.Client, path: str) -> None:
    assert wire.post(path, json={"name": PLAIN, "stream": False}).status_code == 200
    assert wire.post(path, json={"model": PLAIN, "name": "nope", "stream": False}).status_code == 200


def test_chat_and_generate_read_model_only(wire: httpx.Client) -> None:
    assert refusal(wire.post("/api/chat", json={"name": SMALL})) == (400, "model is required")
    assert refusal(wire.post("/api/generate", json={"name": SMALL})) == (404, "model '' not found")


@pytest.mark.parametrize("name", [PLAIN, f"{PLAIN}:latest", PLAIN.upper(), f"{PLAIN.title()}:LATEST"])
def test_a_model_answers_to_each_spelling_and_the_reply_repeats_it(
    mistral: Served, wire: httpx.Client, name: str
) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    reply = wire.post("/api/chat", json={"model": name, "messages": HELLO, "stream": False})
    streamed = lines(wire.post("/api/generate", json={"model": name, "prompt": "Say hello."}))
    assert {reply.json()["model"], *(line["model"] for line in streamed)} == {name}
    assert {call.body["model"] for call in mistral.upstream.calls(CHAT)} == {PLAIN}


# --- chat and generate


def ends_with_counts(last: dict[str, Any]) -> None:
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert all(isinstance(last[name], int) and last[name] > 0 for name in COUNTS)
    parts = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert last["total_duration"] >= sum(last[name] for name in parts)


def test_a_whole_chat_reply_has_ollamas_keys_in_ollamas_order(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Sal", "ut")])
    reply = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "stream": False})
    value = reply.json()
    assert reply.headers["content-type"] == JSON_UTF8
    assert list(value) == ["model", "created_at", "message", "done", "done_reason", *COUNTS]
    assert value["message"] == {"role": "assistant", "content": "Salut"}
    assert CREATED.fullmatch(value["created_at"])
    ends_with_counts(value)
    assert (value["prompt_eval_count"], value["eval_count"]) == (9, 5)


def test_chat_streams_by_default_and_each_line_stands_alone(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    *deltas, last = lines(wire.post("/api/chat", json={"model": SMALL, "messages": HELLO}))
    for line in deltas:
        assert list(line) == ["model", "created_at", "message", "done"]
        assert line["message"]["role"] == "assistant"
        assert line["message"]["content"]
        assert line["done"] is False
    assert "".join(line["message"]["content"] for line in deltas) == golden_text("mistral/text.sse")
    assert list(last) == ["model", "created_at", "message", "done", "done_reason", *COUNTS]
    assert last["message"] == {"role": "assistant", "content": ""}
    assert all(CREATED.fullmatch(line["created_at"]) for line in [*deltas, last])
    ends_with_counts(last)


def test_generate_streams_responses(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    *deltas, last = lines(wire.post("/api/generate", json={"model": SMALL, "prompt": "Say hello."}))
    assert all(list(line) == ["model", "created_at", "response", "done"] for line in deltas)
    assert "".join(line["response"] for line in deltas) == golden_text("mistral/text.sse")
    assert last["response"] == ""
    ends_with_counts(last)


def test_a_whole_generate_reply_carries_response_and_thinking(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("Hm.", "Salut")])
    body = {"model": SMALL, "prompt": "Say hello.", "think": True, "stream": False}
    value = wire.post("/api/generate", json=body).json()
    assert list(value)[:4] == ["model", "created_at", "response", "thinking"]
    assert (value["response"], value["thinking"]) == ("Salut", "Hm.")
    ends_with_counts(value)


def test_thinking_lines_have_an_empty_content(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/thinking.sse"))])
    answered = lines(wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "think": True}))
    thinking = [line["message"] for line in answered if "thinking" in line["message"]]
    assert "".join(message["thinking"] for message in thinking) == golden_text("mistral/thinking.sse", "thinking")
    assert {message["content"] for message in thinking} == {""}


def test_tool_calls_carry_id_index_and_arguments_as_an_object(mistral: Served, wire: httpx.Client) -> None:
    calls = [
        tool_call("gSIMJiOkT", "get_weather", city="Paris"),
        tool_call("Qz81LmB0x", "get_weather", city="Lyon"),
    ]
    mistral.upstream.script(CHAT, [calling_answer(*calls)])
    whole = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "tools": [TOOL], "stream": False}).json()
    assert whole["message"] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "gSIMJiOkT",
                "function": {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}},
            },
            {
                "id": "Qz81LmB0x",
                "function": {"index": 1, "name": "get_weather", "arguments": {"city": "Lyon"}},
            },
        ],
    }
    ends_with_counts(whole)


def test_streamed_tool_calls_come_before_a_plain_done_line(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/tool-calls-parallel.sse"))])
    *before, last = lines(wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "tools": [TOOL]}))
    calls = [call for line in before for call in line["message"].get("tool_calls", [])]
    assert [call["function"]["index"] for call in calls] == [0, 1]
    assert [call["function"]["arguments"] for call in calls] == [{"city": "Paris"}, {"city": "Lyon"}]
    assert "tool_calls" not in last["message"]
    ends_with_counts(last)


def test_unicode_line_separators_never_stand_raw_in_a_reply(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/unicode-separators.sse"))])
    reply = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO})
    for separator in "\u0085\u2028\u2029":
        assert separator.encode() not in reply.content
    text = "".join(line["message"]["content"] for line in lines(reply))
    assert text == golden_text("mistral/unicode-separators.sse")


def test_the_counts_are_left_out_when_the_upstream_gave_none(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/no-usage.sse"))])
    last = lines(wire.post("/api/chat", json={"model": SMALL, "messages": HELLO}))[-1]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert all(isinstance(last.get(name, 1), int) for name in COUNTS)


def test_an_error_in_mid_stream_is_the_last_line_and_no_done_line_follows(
    failing_mistral: Served,
) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"))])
    got, broken = b"", False
    body = {"model": SMALL, "messages": HELLO}
    with httpx.stream("POST", f"{failing_mistral.url}/api/chat", json=body, timeout=CLIENT_SECONDS) as reply:
        assert (reply.status_code, reply.headers["content-type"]) == (200, NDJSON)
        try:
            for part in reply.iter_raw():
                got += part
        except httpx.RemoteProtocolError:
            broken = True
    *before, last = [json.loads(line) for line in got.split(b"\n")[:-1]]
    assert [line["message"]["content"] for line in before] == ["Par"]
    assert list(last) == ["error"]
    assert "Service unavailable." in last["error"]
    assert broken


def test_a_rate_limit_tells_when_to_come_back(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error("429-rate-limited.json", **{"retry-after": "7"})])
    body = {"model": SMALL, "messages": HELLO}
    reply = httpx.post(f"{failing_mistral.url}/api/chat", json=body, timeout=CLIENT_SECONDS)
    keeps_the_wires_promises(reply)
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) > 0


# --- load and unload


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "load"),
        ({"prompt": "", "messages": []}, "load"),
        ({"prompt": None, "messages": None, "stream": False}, "load"),
        ({"keep_alive": 300, "options": None}, "load"),
        ({"keep_alive": -1}, "load"),
        ({"keep_alive": "5m0s", "stream": True}, "load"),
        ({"keep_alive": 0}, "unload"),
        ({"prompt": "", "messages": [], "keep_alive": "0s"}, "unload"),
        ({"keep_alive": "0", "stream": False}, "unload"),
    ],
    ids=json.dumps,
)
def test_an_empty_request_loads_or_unloads_without_asking_the_upstream(
    mistral: Served, wire: httpx.Client, path: str, fields: dict[str, Any], reason: str
) -> None:
    reply = wire.post(path, json={"model": SMALL, **fields})
    value = reply.json()
    empty = {"response": ""} if path == "/api/generate" else {"message": {"role": "assistant", "content": ""}}
    assert (reply.status_code, reply.headers["content-type"]) == (200, JSON_UTF8)
    assert list(value) == ["model", "created_at", *empty, "done", "done_reason"]
    created = value.pop("created_at")
    assert CREATED.fullmatch(created)
    assert value == {"model": SMALL, **empty, "done": True, "done_reason": reason}
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize("fields", [{}, {"input": ""}, {"input": []}, {"input": None}], ids=json.dumps)
def test_an_empty_embed_request_only_loads(mistral: Served, wire: httpx.Client, fields: dict[str, Any]) -> None:
    reply = wire.post("/api/embed", json={"model": EMBED, **fields})
    assert (reply.status_code, reply.json()) == (200, {"model": EMBED, "embeddings": []})
    assert mistral.upstream.posts() == []


def test_an_empty_embeddings_request_only_loads(mistral: Served, wire: httpx.Client) -> None:
    assert wire.post("/api/embeddings", json={"model": EMBED}).json() == {"embedding": []}
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
@pytest.mark.parametrize(
    ("keep_alive", "text"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("-1", 'time: missing unit in duration "-1"'),
        (True, "Unsupported type: 'bool'"),
    ],
)
def test_a_bad_keep_alive_is_refused_in_ollamas_words(
    wire: httpx.Client, path: str, keep_alive: object, text: str
) -> None:
    assert refusal(wire.post(path, json={"model": SMALL, "keep_alive": keep_alive})) == (400, text)


@pytest.mark.parametrize("keep_alive", [[], {}, "soon", "5x"], ids=json.dumps)
def test_any_other_keep_alive_is_a_400(wire: httpx.Client, keep_alive: object) -> None:
    assert refusal(wire.post("/api/chat", json={"model": SMALL, "keep_alive": keep_alive}))[0] == 400


@pytest.mark.parametrize("keep_alive", [1e18, "9999999999999h", -1e18], ids=json.dumps)
def test_a_keep_alive_without_end_still_gives_a_readable_date(wire: httpx.Client, keep_alive: object) -> None:
    assert wire.post("/api/generate", json={"model": PLAIN, "keep_alive": keep_alive}).status_code in {
        200,
        400,
    }
    for model in wire.get("/api/ps").json()["models"]:
        assert datetime.fromisoformat(model["expires_at"]).tzinfo


# --- errors

BAD_THINK = 'invalid think value: "ultra" (must be "high", "medium", "low", "max", true, or false)'
NO_THINK = 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'


@pytest.mark.parametrize("model", [SMALL, PLAIN, "nope"])
@pytest.mark.parametrize(("think", "text"), [("ultra", BAD_THINK), (1, NO_THINK), ({}, NO_THINK)])
def test_a_bad_think_value_wins_over_everything_else(wire: httpx.Client, model: str, think: object, text: str) -> None:
    body = {"model": model, "messages": HELLO, "prompt": "a", "think": think}
    for path in ("/api/chat", "/api/generate"):
        assert refusal(wire.post(path, json=body)) == (400, text)


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        ("/api/chat", {"model": PLAIN, "messages": HELLO, "think": True},
         f'"{PLAIN}" does not support thinking'),
        ("/api/generate", {"model": PLAIN, "prompt": "a", "think": "low"},
         f'"{PLAIN}" does not support thinking'),
        ("/api/chat", {"model": PLAIN, "think": True}, f'"{PLAIN}" does not support thinking'),
        ("/api/chat", {"model": PLAIN, "messages": HELLO, "tools": [TOOL]},
         f"registry.ollama.ai/library/{PLAIN}:latest does not support tools"),
        ("/api/generate", {"model": PLAIN, "prompt": "a", "suffix": "b"},
         f"registry.ollama.ai/library/{PLAIN}:latest does not support insert"),
        ("/api/chat", {"model": EMBED, "messages": HELLO}, f'"{EMBED}" does not support chat'),
        ("/api/generate", {"model": EMBED, "prompt": "a"}, f'"{EMBED}" does not support generate'),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_refused_before_the_upstream_is_asked(
    mistral: Served, wire: httpx.Client, path: str, fields: dict[str, Any], text: str
) -> None:
    assert refusal(wire.post(path, json=fields)) == (400, text)
    assert mistral.upstream.posts() == []


def test_an_image_for_a_model_without_eyes_is_refused(mistral: Served, wire: httpx.Client) -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
    body = {"model": PLAIN, "messages": [{**HELLO[0], "images": [image]}]}
    assert refusal(wire.post("/api/chat", json=body))[0] == 400
    assert mistral.upstream.posts() == []


def test_think_false_is_fine_for_every_model(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    for model in (PLAIN, SMALL):
        body = {"model": model, "messages": HELLO, "think": False, "stream": False}
        assert wire.post("/api/chat", json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "fields", "status", "text"),
    [
        ("/api/chat", {"messages": HELLO}, 404, "model 'Nope:7b' not found"),
        ("/api/generate", {"prompt": "a"}, 404, "model 'Nope:7b' not found"),
        ("/api/chat", {"keep_alive": 0}, 404, "model 'Nope:7b' not found"),
        ("/api/embed", {"input": "a"}, 404, 'model "Nope:7b" not found, try pulling it first'),
        ("/api/embeddings", {"prompt": "a"}, 404, 'model "Nope:7b" not found, try pulling it first'),
        ("/api/show", {}, 404, "model 'Nope:7b' not found"),
        ("/api/chat", {"messages": HELLO, "options": {"temperature": "x"}}, 404, "model 'Nope:7b' not found"),
    ],
)
def test_an_unknown_model_is_a_404_in_the_words_of_the_route(
    wire: httpx.Client, path: str, fields: dict[str, Any], status: int, text: str
) -> None:
    assert refusal(wire.post(path, json={"model": "Nope:7b", **fields})) == (status, text)


def test_show_names_an_unknown_model_with_its_tag(wire: httpx.Client) -> None:
    assert refusal(wire.post("/api/show", json={"model": "nope"})) == (404, "model 'nope:latest' not found")


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/api/chat", 400, "model is required"),
        ("/api/generate", 404, "model '' not found"),
        ("/api/embed", 404, "model '' not found"),
        ("/api/embeddings", 400, "model is required"),
        ("/api/show", 400, "model is required"),
        ("/api/pull", 400, "invalid model name"),
    ],
)
@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}, None], ids=json.dumps)
def test_a_missing_model_is_told_in_the_words_of_the_route(
    wire: httpx.Client, path: str, status: int, text: str, body: object
) -> None:
    assert refusal(wire.post(path, content=json.dumps(body))) == (status, text)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", ["a b", "a:", "/a", "-a", "a:b:c d", "é"])
def test_a_name_that_breaks_the_grammar_is_a_400(wire: httpx.Client, path: str, name: str) -> None:
    assert refusal(wire.post(path, json={"model": name})) == (400, "invalid model name")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"top_p": True}, 'option "top_p" must be of type float32'),
        ({"num_predict": "5"}, 'option "num_predict" must be of type integer'),
        ({"seed": []}, 'option "seed" must be of type integer'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": [1]}, 'option "stop" must be of an array of strings'),
    ],
)
def test_an_option_of_the_wrong_type_is_the_clients_mistake(
    mistral: Served, wire: httpx.Client, options: dict[str, Any], text: str
) -> None:
    for path in ("/api/chat", "/api/generate"):
        body = {"model": SMALL, "messages": HELLO, "prompt": "a", "options": options}
        assert refusal(wire.post(path, json=body)) == (400, text)
    assert mistral.upstream.posts() == []


@pytest.mark.parametrize("value", ["yaml", 7, ["json"]])
def test_a_bad_format_is_the_clients_mistake(wire: httpx.Client, value: object) -> None:
    body = {"model": SMALL, "messages": HELLO, "format": value}
    status, text = refusal(wire.post("/api/chat", json=body))
    assert (status, text[:15]) == (400, "invalid format:")


@pytest.mark.parametrize("fields", [{"system": "s"}, {"template": "t"}, {"context": [1]}], ids=json.dumps)
def test_raw_mode_excludes_template_system_and_context(wire: httpx.Client, fields: dict[str, Any]) -> None:
    reply = wire.post("/api/generate", json={"model": SMALL, "prompt": "a", "raw": True, **fields})
    assert refusal(reply) == (400, "raw mode does not support template, system, or context")


@pytest.mark.parametrize("count", [-1, 21])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_top_logprobs_has_a_range(wire: httpx.Client, path: str, count: int) -> None:
    body = {"model": "nope", "messages": HELLO, "prompt": "a", "logprobs": True, "top_logprobs": count}
    assert refusal(wire.post(path, json=body)) == (400, "top_logprobs must be between 0 and 20")


# --- models

DETAILS = {"parent_model": str, "format": str, "family": str, "families": list, "parameter_size": str,
           "quantization_level": str}  # fmt: skip


def has(value: dict[str, Any], wanted: Mapping[str, type[Any]]) -> bool:
    return all(isinstance(value.get(key), kind) for key, kind in wanted.items())


def test_tags_lists_models_with_all_that_clients_read(wire: httpx.Client) -> None:
    reply = wire.get("/api/tags")
    models = reply.json()["models"]
    assert reply.headers["content-type"] == JSON_UTF8
    for model in models:
        assert list(model)[:5] == ["name", "model", "modified_at", "size", "digest"]
        assert model["name"] == model["model"]
        assert ":" in model["name"]
        assert type(model["size"]) is int
        assert HEX64.fullmatch(model["digest"])
        assert datetime.fromisoformat(model["modified_at"]).tzinfo
        assert has(model["details"], DETAILS)
    assert len({model["digest"] for model in models}) == len(models) >= 4
    assert len({model["name"] for model in models}) == len(models)


def test_tags_is_the_same_twice(wire: httpx.Client) -> None:
    assert wire.get("/api/tags").content == wire.get("/api/tags").content


def test_show_describes_a_model_with_all_that_clients_read(wire: httpx.Client) -> None:
    shown = wire.post("/api/show", json={"model": SMALL, "verbose": True, "options": None}).json()
    info = shown["model_info"]
    family = info["general.architecture"]
    assert has(shown, {"modelfile": str, "template": str, "details": dict, "model_info": dict, "modified_at": str})
    assert has(shown["details"], DETAILS)
    assert type(info[f"{family}.context_length"]) is int
    assert [key for key in info if "context_length" in key] == [f"{family}.context_length"]
    assert isinstance(info["general.basename"], str)
    assert set(shown["capabilities"]) == {"completion", "tools", "vision", "thinking"}
    assert ".Tools" in shown["template"]
    assert datetime.fromisoformat(shown["modified_at"]).tzinfo
    assert shown.keys().isdisjoint({"remote_model", "remote_host"})


def test_show_offers_a_suffix_only_where_there_is_one(wire: httpx.Client) -> None:
    templates = [wire.post("/api/show", json={"name": name}).json()["template"] for name in ("codestral-2508", PLAIN)]
    assert [".Suffix" in template for template in templates] == [True, False]


def test_copilot_is_shown_the_name_it_asked_for(wire: httpx.Client) -> None:
    agent = {"user-agent": "GitHubCopilotChat/0.38.0"}
    shown = wire.post("/api/show", json={"model": SMALL}, headers=agent).json()
    assert shown["model_info"]["general.basename"] == SMALL


def test_ps_lists_loaded_models_with_all_that_clients_read(wire: httpx.Client) -> None:
    wire.post("/api/generate", json={"model": PLAIN, "keep_alive": "10m"})
    reply = wire.get("/api/ps")
    (model,) = [one for one in reply.json()["models"] if one["name"] == f"{PLAIN}:latest"]
    assert reply.headers["content-type"] == JSON_UTF8
    assert list(model) == [
        "name",
        "model",
        "size",
        "digest",
        "details",
        "expires_at",
        "size_vram",
        "context_length",
    ]
    assert HEX64.fullmatch(model["digest"])
    assert has(model["details"], DETAILS)
    assert datetime.fromisoformat(model["expires_at"]).tzinfo
    assert model["context_length"] == 131072
    assert all(type(model[key]) is int for key in ("size", "size_vram", "context_length"))


def test_an_unloaded_model_leaves_ps(wire: httpx.Client) -> None:
    wire.post("/api/generate", json={"model": PLAIN, "keep_alive": "10m"})
    wire.post("/api/generate", json={"model": PLAIN, "keep_alive": 0})
    assert f"{PLAIN}:latest" not in [one["name"] for one in wire.get("/api/ps").json()["models"]]


def test_a_pull_of_a_known_model_passes_through_ollamas_steps(wire: httpx.Client) -> None:
    steps = [line["status"] for line in lines(wire.post("/api/pull", json={"name": SMALL, "insecure": True}))]
    assert steps == ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"]


def test_a_pull_without_streaming_answers_with_the_last_step(wire: httpx.Client) -> None:
    reply = wire.post("/api/pull", json={"model": SMALL, "stream": False})
    assert (reply.status_code, reply.json()) == (200, {"status": "success"})
    assert reply.headers["content-type"].startswith("application/json")


def test_a_pull_of_an_unknown_model_ends_in_the_words_the_cli_waits_for(mistral: Served) -> None:
    got = b""
    with httpx.stream("POST", f"{mistral.url}/api/pull", json={"model": "nope"}, timeout=CLIENT_SECONDS) as reply:
        assert (reply.status_code, reply.headers["content-type"]) == (200, NDJSON)
        try:
            for part in reply.iter_raw():
                got += part
        except httpx.RemoteProtocolError:
            pass
    assert [json.loads(line) for line in got.split(b"\n")[:-1]] == [
        {"status": "pulling manifest"},
        {"error": "pull model manifest: file does not exist"},
    ]


def test_a_pull_of_an_unknown_model_without_streaming_is_an_error_status(wire: httpx.Client) -> None:
    status, text = refusal(wire.post("/api/pull", json={"model": "nope", "stream": False}))
    assert status in {404, 500}
    assert text == "pull model manifest: file does not exist"


# --- embeddings


def test_embed_has_ollamas_keys_and_unit_vectors_in_input_order(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0, 0.0], [0.0, 0.0, 2.0])])
    reply = wire.post("/api/embed", json={"model": EMBED, "input": ["one", "two"], "stream": True, "truncate": True})
    value = reply.json()
    assert reply.headers["content-type"] == JSON_UTF8
    assert list(value) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert (value["model"], value["prompt_eval_count"]) == (EMBED, 11)
    assert value["embeddings"] == [pytest.approx([0.6, 0.8, 0.0]), pytest.approx([0.0, 0.0, 1.0])]
    (call,) = mistral.upstream.calls(EMBEDDINGS)
    assert call.body.keys() <= {"model", "input", "encoding_format", "output_dtype"}


@pytest.mark.parametrize(("dimensions", "wanted"), [(0, 3), (2, 2), (3, 3), (9, 3)])
def test_embed_cuts_to_the_dimensions_asked_for_and_normalises_again(
    mistral: Served, wire: httpx.Client, dimensions: int, wanted: int
) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([2.0, 3.0, 6.0])])
    reply = wire.post("/api/embed", json={"model": EMBED, "input": "one", "dimensions": dimensions})
    (vector,) = reply.json()["embeddings"]
    assert len(vector) == wanted
    assert math.hypot(*vector) == pytest.approx(1.0)
    assert vector[1] / vector[0] == pytest.approx(1.5)


def test_an_empty_string_in_a_list_is_embedded(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([0.6, 0.8])])
    assert len(wire.post("/api/embed", json={"model": EMBED, "input": [""]}).json()["embeddings"]) == 1


@pytest.mark.parametrize("value", [7, {"a": 1}, [1, 2], True], ids=json.dumps)
def test_an_input_that_is_no_text_is_refused(wire: httpx.Client, value: object) -> None:
    assert refusal(wire.post("/api/embed", json={"model": EMBED, "input": value})) == (
        400,
        "invalid input type",
    )


def test_the_older_embeddings_route_returns_the_vector_as_it_came(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0])])
    reply = wire.post("/api/embeddings", json={"model": EMBED, "prompt": "one"})
    assert reply.json() == {"embedding": [3.0, 4.0]}
