"""Requests to an Ollama machine are written as it reads them, and its lists and lines are read."""

import json
from typing import Any

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderProtocolError
from backend.llm.events import Finished, TextDelta, ThinkingDelta, Timings, Usage
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from backend.wire.ollama import upstream
from tests.unit.wire.transcripts import MAX_LINE, Heard, listen

HI = Message("user", (TextPart("hi"),))


def test_the_least_chat_says_nothing_the_caller_did_not() -> None:
    body = upstream.write_chat(ChatRequest("m", (HI,), stream=False))
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def test_a_whole_chat_is_written_in_ollamas_fields() -> None:
    schema = {"type": "object"}
    request = ChatRequest(
        "m",
        (HI,),
        tools=(ToolSpec("f", "d", schema),),
        sampling=Sampling(seed=1, max_tokens=2, extras={"num_ctx": 3}),
        response_format=JsonFormat(schema),
        thinking=False,
        keep_alive=0,
        logprobs=True,
        top_logprobs=2,
    )
    body = upstream.write_chat(request)
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}]
    assert body["options"] == {"seed": 1, "num_predict": 2, "num_ctx": 3}
    assert (body["format"], body["think"], body["keep_alive"]) == (schema, False, 0)
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert upstream.write_chat(ChatRequest("m", (HI,), response_format=JsonFormat()))["format"] == "json"


@pytest.mark.parametrize(
    ("turn", "written"),
    [
        (
            Message("user", (TextPart("a"), ImagePart("AAAA", "image/png"))),
            {"role": "user", "content": "a", "images": ["AAAA"]},
        ),
        (Message("assistant", thinking="hm"), {"role": "assistant", "content": "", "thinking": "hm"}),
        (
            Message("assistant", tool_calls=(ToolCall("c", "f", {"a": 1}), ToolCall("", "g", {}))),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}},
                    {"function": {"index": 1, "name": "g", "arguments": {}}},
                ],
            },
        ),
        (
            Message("tool", (TextPart("r"),), tool_name="f", tool_call_id="c"),
            {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "c"},
        ),
        (Message("tool", (TextPart("r"),)), {"role": "tool", "content": "r"}),
    ],
)
def test_a_turn_is_written_in_ollamas_fields(turn: Message, written: dict[str, Any]) -> None:
    assert upstream.write_chat(ChatRequest("m", (turn,)))["messages"] == [written]


@pytest.mark.parametrize(
    ("suffix", "extra"), [(None, {"raw": True}), ("", {"suffix": ""}), ("after", {"suffix": "after"})]
)
def test_a_prompt_is_raw_and_a_gap_has_a_suffix(suffix: str | None, extra: dict[str, Any]) -> None:
    body = upstream.write_completion(CompletionRequest("m", "p", suffix))
    assert body == {"model": "m", "prompt": "p", "stream": True, **extra}
    tuned = upstream.write_completion(CompletionRequest("m", "p", suffix, Sampling(stop=("a",))))
    assert tuned["options"] == {"stop": ["a"]}


@pytest.mark.parametrize(("dimensions", "extra"), [(None, {}), (4, {"dimensions": 4})])
def test_texts_to_embed_are_written(dimensions: int | None, extra: dict[str, Any]) -> None:
    body = upstream.write_embed(EmbedRequest("m", ("a",), dimensions, truncate=False))
    assert body == {"model": "m", "input": ["a"], "truncate": False, **extra}


def test_embed_replies_of_both_routes_are_read() -> None:
    assert upstream.read_embed_reply(b'{"embeddings":[[1,2.5]],"prompt_eval_count":3}').embeddings == [[1.0, 2.5]]
    assert upstream.read_embed_reply(b'{"embedding":[0.5]}').embedding == [0.5]


def test_the_models_of_a_machine_are_read_with_their_own_entries() -> None:
    entry = {
        "name": "qwen3:4b",
        "model": "qwen3:4b",
        "size": 5,
        "remote_model": "x",
        "remote_host": "y",
        "nothing": None,
        "details": {"family": "qwen3", "context_length": 40960},
        "capabilities": ["tools", "thinking", "image"],
    }
    older = {"name": "old", "details": None}
    body = json.dumps({"models": [entry, older, 5, {"name": 5}, {}]}).encode()
    new, old = upstream.read_models(body, "up")
    assert new.capabilities == {Capability.TOOLS, Capability.THINKING}
    assert (new.model_id, new.context_length, new.family) == ("qwen3:4b", 40960, "qwen3")
    assert not {"remote_model", "remote_host", "nothing"} & new.native.keys()
    assert (old.model_id, old.capabilities, old.context_length, old.family) == ("old", frozenset(), None, "")


@pytest.mark.parametrize("body", [b"{}", b'{"models":null}', b'{"models":[]}'])
def test_a_machine_without_models_has_none(body: bytes) -> None:
    assert upstream.read_models(body, "up") == []


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"<html>", b'{"a":' + b"[" * 99_999])
def test_a_list_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="'up' sent an unreadable model list"):
        upstream.read_models(body, "up")


def hear(*lines: bytes) -> Heard:
    return listen(upstream.LineDecoder("up", MAX_LINE), [line + b"\n" for line in lines])


DONE = b'{"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2,"total_duration":9,"load_duration":1,"prompt_eval_duration":2,"eval_duration":3}'  # fmt: skip  # noqa: E501


def test_the_last_line_tells_counts_and_times() -> None:
    assert hear(DONE).events == [Finished("stop", Usage(3, 2), Timings(1, 2, 3, 9))]
    assert hear(b'{"done":true}').events == [Finished("stop")]
    assert hear(b'{"done":true,"done_reason":"length"}').events == [Finished("length")]


@pytest.mark.parametrize("value", ["-1", "100000000000000000000000000000"])
def test_counts_that_cannot_be_are_not_told(value: str) -> None:
    line = f'{{"done":true,"prompt_eval_count":{value},"eval_count":{value}}}'
    assert hear(line.encode()).events == [Finished("stop")]


def test_times_no_client_can_hold_are_not_told() -> None:
    fields = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    line = '{"done":true,' + ",".join(f'"{field}":{10**29}' for field in fields) + "}"
    assert hear(line.encode()).events == [Finished("stop")]


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (b'{"message":{"role":"assistant","content":"a","thinking":"t"}}', [ThinkingDelta("t"), TextDelta("a")]),
        (b'{"response":"a","thinking":"t"}', [ThinkingDelta("t"), TextDelta("a")]),
        (b'{"message":{"content":""}}', []),
        (b"", []),
        (b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]}}', [ToolCall("", "f", {})]),
        (
            b'{"response":"a","logprobs":[{"token":"a","logprob":-1.0}]}',
            [TextDelta("a", [{"token": "a", "logprob": -1.0}])],
        ),
    ],
)
def test_a_line_becomes_its_events(line: bytes, events: list[Any]) -> None:
    assert hear(line, DONE).events[:-1] == events


@pytest.mark.parametrize("line", [b"{", b"[]", b"\xff", b'{"message":5}', b'{"a":' + b"[" * 9_999])
def test_a_line_that_cannot_be_read_is_an_error(line: bytes) -> None:
    heard = hear(b'{"response":"a"}', line)
    assert (heard.events, heard.error) == ([TextDelta("a")], "backend 'up' sent an unreadable answer; try again")


def test_an_error_line_is_told_and_a_cut_answer_too() -> None:
    heard = hear(b'{"response":"a"}', b'{"error":"model runner has stopped"}')
    assert heard.events == [TextDelta("a")]
    assert heard.error == "backend 'up' failed while answering: model runner has stopped"
    assert hear(b'{"response":"a"}').error == "backend 'up' ended its answer early; try again"
    assert hear().error == "backend 'up' ended its answer early; try again"
