"""Bodies of the messages API become canonical requests, or are refused in one sentence."""

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import GatewayError, InvalidRequest
from backend.llm.types import (
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.anthropic import schemas
from backend.wire.anthropic.inbound import MAX_IMAGES, read_messages, read_prompt
from backend.wire.anthropic.schemas import MessagesBody, PromptBody, read_body

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": PNG}}
IMAGE = ImagePart(PNG, "image/png")
USER = [{"role": "user", "content": "hi"}]
TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object"}}


def read(**fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 9, "messages": USER, **fields}
    return read_messages(read_body(json.dumps(body).encode(), MessagesBody))


def turns(*messages: dict[str, Any]) -> list[Message]:
    return list(read(messages=messages).messages)


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return caught.value.message


def text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": one} for one in texts]


def result(content: Any = "ok", ident: str = "c1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": ident, "content": content, **fields}


def said(*parts: str) -> tuple[TextPart, ...]:
    return tuple(TextPart(part) for part in parts)


# --- what must be there


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "", "max_tokens": 0, "messages": []}, "model is required"),
        ({"model": None}, "model is required"),
        ({"max_tokens": 0, "messages": []}, "max_tokens is required and must be positive"),
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"max_tokens": -5}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
        ({"messages": None}, "messages is required"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages is required"),
        ({"messages": [], "system": "be brief"}, "messages is required"),
    ],
)
def test_what_is_missing_is_told_in_ollamas_order_and_words(fields: dict[str, Any], words: str) -> None:
    assert refusal(**fields) == words


def test_a_count_needs_no_max_tokens() -> None:
    body = read_body(json.dumps({"model": "m", "messages": USER}).encode(), PromptBody)
    assert read_prompt(body) == ChatRequest("m", (Message("user", said("hi")),))
    with pytest.raises(InvalidRequest, match=r"^model is required$"):
        read_prompt(PromptBody())
    with pytest.raises(InvalidRequest, match=r"^messages is required$"):
        read_prompt(PromptBody(model="m"))


@pytest.mark.parametrize(("sent", "read_as"), [(-1, 0), (0, 0), (40, 40), (None, None)])
def test_every_word_for_no_top_k_becomes_the_one_all_servers_know(sent: int | None, read_as: int | None) -> None:
    assert read(top_k=sent).sampling.top_k == read_as


# --- turns


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"role": "user", "content": "hi"}, [Message("user", said("hi"))]),
        ({"role": "user", "content": text("a", "", "b")}, [Message("user", said("a", "b"))]),
        ({"role": "user", "content": [*text("a"), PICTURE, *text("b", "c")]},
         [Message("user", (TextPart("a"), IMAGE, TextPart("b"), TextPart("c")))]),
        ({"role": "system", "content": "s"}, [Message("system", said("s"))]),
        ({"role": "assistant", "content": "yo"}, [Message("assistant", said("yo"))]),
        ({"role": "assistant", "content": text("a", "b")}, [Message("assistant", said("a", "b"))]),
        ({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "thinking", "thinking": "!", "signature": ""},
            *text("a"),
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"b": 1, "a": None}},
         ]}, [Message("assistant", said("a"), "hm!", (ToolCall("c1", "f", {"b": 1, "a": None}),))]),
        ({"role": "user", "content": [{"type": "document", "title": "T", "source":
            {"type": "text", "media_type": "text/plain", "data": "D"}}, *text("q")]},
         [Message("user", said("T", "D", "q"))]),
        ({"role": "user", "content": [{"type": "document", "source":
            {"type": "content", "content": [*text("x"), PICTURE]}}]},
         [Message("user", (TextPart("x"), IMAGE))]),
        ({"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": "x"}}]},
         [Message("user", said("x"))]),
        ({"role": "user", "content": [{**text("a")[0], "cache_control": {"type": "ephemeral"}, "citations": None}]},
         [Message("user", said("a"))]),
    ],
)  # fmt: skip
def test_a_turn_is_read(sent: dict[str, Any], expected: list[Message]) -> None:
    assert turns(sent) == expected


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (result("ok"), said("ok")),
        (result(text("a", "b")), said("a", "b")),
        (result([*text("a"), PICTURE]), (TextPart("a"), IMAGE)),
        (result(None), ()),
        (result("no file", is_error=True), said("Error: no file")),
        (result([PICTURE], is_error=True), (TextPart("Error"), IMAGE)),
        (result([], is_error=True), said("Error")),
        (result("fine", is_error=False), said("fine")),
    ],
)
def test_a_tool_result_keeps_its_text_its_images_and_whether_it_failed(block: Any, expected: Any) -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]}
    *_, got = turns(call, {"role": "user", "content": [block]})
    assert got == Message("tool", expected, tool_call_id="c1", tool_name="f")


def test_turns_that_say_nothing_are_left_out() -> None:
    silent = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}]}
    assert turns({"role": "user", "content": ""}, *USER, silent) == [Message("user", said("hi"))]


def test_results_of_tools_come_before_the_rest_of_their_turn() -> None:
    assert turns({"role": "user", "content": [*text("now"), result("1", "a"), PICTURE, result("2", "b")]}) == [
        Message("tool", said("1"), tool_call_id="a"),
        Message("tool", said("2"), tool_call_id="b"),
        Message("user", (TextPart("now"), IMAGE)),
    ]


@pytest.mark.parametrize("system", ["be brief\nplease", text("be brief", "please")])
def test_a_system_prompt_comes_first(system: Any) -> None:
    first, user = read(system=system).messages
    assert (first.role, first.text) == ("system", "be brief\nplease")
    assert user == Message("user", said("hi"))


@pytest.mark.parametrize("system", ["", [], None, text("")])
def test_an_empty_system_prompt_is_none(system: Any) -> None:
    assert [message.role for message in read(system=system).messages] == ["user"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "tool", "content": "x"}, "invalid role 'tool'; use user, assistant or system"),
        ({"content": "x"}, "invalid role ''; use user, assistant or system"),
        ({"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x.test"}}]},
         "invalid image source type: url. Only base64 images are supported."),
        ({"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]},
         "invalid image source type: file. Only base64 images are supported."),
        ({"role": "user", "content": [{**PICTURE, "source": {"type": "base64", "data": "!"}}]},
         "illegal base64 data at input byte 0"),
        ({"role": "user", "content": [{**PICTURE, "source": {"type": "base64", "data": "QUJDRA=="}}]},
         "this image cannot be read; send PNG, JPEG, GIF or WebP as base64"),
        ({"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": "JVBERg=="}}]},
         "documents with a 'base64' source cannot be read here; send their text"),
        ({"role": "user", "content": [{"type": "server_tool_use", "id": "x"}]},
         "content blocks of type 'server_tool_use' are not supported here; leave them out"),
        ({"role": "user", "content": [{"text": "x"}]},
         "content blocks of type '' are not supported here; leave them out"),
        ({"role": "user", "content": [{"type": ["text"]}]},
         "content blocks of type \"['text']\" are not supported here; leave them out"),
        ({"role": "user", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]},
         "a user turn cannot hold blocks of type 'tool_use'"),
        ({"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]},
         "tool_use block missing required 'id' field"),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "input": {}}]},
         "tool_use block missing required 'name' field"),
        ({"role": "assistant", "content": [result()]}, "an assistant turn cannot hold blocks of type 'tool_result'"),
        ({"role": "user", "content": [result([result()])]}, "a tool result cannot hold blocks of type 'tool_result'"),
        ({"role": "system", "content": [result()]}, "a system turn cannot hold blocks of type 'tool_result'"),
    ],
)  # fmt: skip
def test_what_no_model_here_could_read_is_refused(message: dict[str, Any], words: str) -> None:
    assert refusal(messages=[message]) == words


# --- how to answer


@pytest.mark.parametrize(
    ("thinking", "effort", "expected"),
    [
        (None, None, None),
        ({"type": "enabled", "budget_tokens": 2000}, None, True),
        ({"type": "disabled"}, None, False),
        ({"type": "adaptive"}, None, None),
        ({"type": "between_tools"}, None, None),
        ({}, None, None),
        (None, "low", "low"),
        (None, "medium", "medium"),
        ({"type": "enabled"}, "high", "high"),
        ({"type": "adaptive"}, "xhigh", "high"),
        (None, "max", "max"),
        ({"type": "disabled"}, "max", False),
    ],
)
def test_thinking_and_effort_become_one_level(thinking: Any, effort: Any, expected: Thinking | None) -> None:
    assert read(thinking=thinking, output_config={"effort": effort}).thinking == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, (None, None)),
        ({"type": "auto"}, (ToolChoice("auto"), None)),
        ({"type": "auto", "disable_parallel_tool_use": True}, (ToolChoice("auto"), False)),
        ({"type": "any", "disable_parallel_tool_use": False}, (ToolChoice("required"), None)),
        ({"type": "tool", "name": "f"}, (ToolChoice("required", "f"), None)),
        ({"type": "none"}, (ToolChoice("none"), None)),
    ],
)
def test_tools_may_be_left_free_forced_or_forbidden(choice: Any, expected: Any) -> None:
    request = read(tools=[TOOL, {"type": "custom", "name": "g"}], tool_choice=choice)
    assert (request.tool_choice, request.parallel_tool_calls) == expected
    assert request.tools == (ToolSpec("f", "does f", {"type": "object"}), ToolSpec("g"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
         "the built-in tool 'web_search_20250305' does not exist here; send tools with an input_schema"),
        ({"tools": [{"input_schema": {}}]}, "every tool needs a name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}},
         "tool_choice names 'g', which is not among the tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice names '', which is not among the tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice 'any' needs tools to choose from"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type must be auto, any, tool or none"),
        ({"output_config": {"effort": "extreme"}}, "output_config.effort must be low, medium, high, xhigh or max"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type must be json_schema"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_fulfilled_is_refused(fields: dict[str, Any], words: str) -> None:
    assert refusal(**fields) == words


def test_sampling_and_the_form_of_the_answer_are_read() -> None:
    schema = {"type": "object", "properties": {}}
    request = read(
        temperature=1,
        top_p=0.5,
        top_k=40,
        stop_sequences=["\n\n", "END"],
        stream=True,
        output_config={"format": {"type": "json_schema", "schema": schema}},
        metadata={"user_id": "u"},
        anthropic_beta=["x"],
    )
    assert request.sampling == Sampling(1.0, 0.5, 40, stop=("\n\n", "END"), max_tokens=9)
    assert (request.response_format, request.stream, request.source) == (JsonFormat(schema), True, None)


def test_an_answer_comes_whole_unless_a_stream_is_asked_for() -> None:
    assert read().stream is False


# --- wrong types and sizes


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "missing request body"),
        (b"[]", "the request body must be a JSON object"),
        (b'"x"', "the request body must be a JSON object"),
        (b'{"model":5}', "model: must be a string"),
        (b'{"max_tokens":"5"}', "max_tokens: must be a whole number"),
        (b'{"max_tokens":1.5}', "max_tokens: must be a whole number"),
        (b'{"max_tokens":99999999999}', "max_tokens: input should be less than or equal to 2147483647"),
        (b'{"stream":1}', "stream: must be true or false"),
        (b'{"temperature":"hot"}', "temperature: must be a number"),
        (b'{"temperature":1e999}', "temperature: must be a number"),
        (b'{"messages":{}}', "messages: must be a list"),
        (b'{"messages":["x"]}', "messages.0: must be an object"),
        (b'{"messages":[{"content":5}]}', "messages.0.content: must be a string or a list of content blocks"),
        (b'{"messages":[{"content":["x"]}]}', "messages.0.content.0: must be an object"),
        (b'{"messages":[{"content":[{"type":"text","text":5}]}]}', "messages.0.content.0.text: must be a string"),
        (
            b'{"messages":[{"content":[{"type":"tool_use","input":[]}]}]}',
            "messages.0.content.0.input: must be an object",
        ),
        (b'{"system":5}', "system: must be a string or a list of content blocks"),
        (b'{"tools":[{"input_schema":"x"}]}', "tools.0.input_schema: must be an object"),
        (b'{"stop_sequences":[5]}', "stop_sequences.0: must be a string"),
    ],
)
def test_a_wrong_type_is_told_with_its_place(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(raw, MessagesBody)
    assert caught.value.message == words


def test_nothing_a_caller_wrote_is_repeated_when_it_is_refused() -> None:
    secret = "sk-" + "a" * 30
    for fields in ({"messages": [{"role": "user", "content": [secret]}]}, {"temperature": secret}, {"tools": secret}):
        assert secret not in refusal(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": USER * (schemas.MAX_MESSAGES + 1)}, "messages may hold"),
        ({"tools": [TOOL] * (schemas.MAX_TOOLS + 1)}, "tools may hold"),
        ({"system": text("") * (schemas.MAX_BLOCKS + 1)}, "content blocks at most"),
        ({"messages": [{"role": "user", "content": [result(text("") * (schemas.MAX_BLOCKS + 1))]}]}, "blocks at most"),
        ({"messages": [{"role": "user", "content": [result()] * (schemas.MAX_CALLS + 1)}]}, "tool_result blocks"),
        ({"messages": [{"role": "user", "content": [PICTURE] * (MAX_IMAGES + 1)}]}, "100 images at most"),
        ({"stop_sequences": ["x"] * 65}, "stop_sequences: "),
        ({"stop_sequences": ["x" * 1025]}, "stop_sequences.0: "),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_is_too_much_is_refused(fields: dict[str, Any], words: str) -> None:
    assert words in refusal(**fields)


def test_as_many_images_as_allowed_pass() -> None:
    assert len(turns({"role": "user", "content": [PICTURE] * MAX_IMAGES})[0].images) == MAX_IMAGES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from([*sorted(schemas._BLOCKS), "x"]) | JSON},
    optional={
        name: JSON | st.just([{"type": "text", "text": "x"}]) | st.just({"type": "base64", "data": PNG})
        for name in ("text", "thinking", "source", "title", "id", "name", "input", "tool_use_id", "content", "is_error")
    },
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", ""]), "content": JSON | st.lists(BLOCK, max_size=3)}
)
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(1), "messages": st.lists(MESSAGE, max_size=3) | JSON},
    optional={name: JSON for name in MessagesBody.model_fields if name not in {"model", "max_tokens", "messages"}},
)


@given(BODY | JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    raw = json.dumps(value).replace("Infinity", "1e999").encode()
    with contextlib.suppress(GatewayError):
        read_messages(read_body(raw, MessagesBody))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(GatewayError):
        read_messages(read_body(raw, MessagesBody))


def test_blocks_nested_without_end_are_refused() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [result(deep)]
    assert refusal(messages=[{"role": "user", "content": deep}]) == "the JSON is nested too deeply"
    for _ in range(20):
        deep = deep[0]["content"]
    assert "cannot hold" in refusal(messages=[{"role": "user", "content": deep}])
