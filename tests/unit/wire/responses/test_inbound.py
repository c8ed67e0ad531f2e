"""Responses bodies become canonical requests, or one sentence that says what to send instead."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.llm.types import (
    ChatRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.responses.inbound import read_names, read_request
from backend.wire.responses.schemas import read_body

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
PNG_URL = f"data:image/png;base64,{PNG}"
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
SPACE = {
    "type": "namespace",
    "name": "crm",
    "description": "d",
    "tools": [{"type": "function", "name": "find", "parameters": {"type": "object"}}],
}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"b":1,"a":null}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "r"}


def read(**body: Any) -> ChatRequest:
    return read_request(read_body(json.dumps({"model": "m", "input": "hi", **body}).encode()))


def text(words: str) -> tuple[TextPart, ...]:
    return (TextPart(words),)


def refusal(**body: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    return caught.value.message


def test_a_string_is_what_the_user_says() -> None:
    assert read() == ChatRequest("m", (Message("user", text("hi")),), stream=False)


def test_a_whole_request_is_read() -> None:
    request = read(
        instructions="be brief",
        stream=True,
        max_output_tokens=7,
        temperature=0,
        top_p=0.5,
        reasoning={"effort": "high", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        tools=[FUNCTION],
        tool_choice="required",
        parallel_tool_calls=False,
        store=True,
        include=["reasoning.encrypted_content"],
        metadata={"a": "b"},
        truncation="auto",
    )
    assert request == ChatRequest(
        "m",
        (Message("system", text("be brief")), Message("user", text("hi"))),
        tools=(ToolSpec("f", "d", {"type": "object"}),),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        sampling=Sampling(temperature=0, top_p=0.5, max_tokens=7),
        response_format=JsonFormat({"type": "object"}),
        thinking="high",
        stream=True,
    )


def test_nulls_mean_unset() -> None:
    unset = dict.fromkeys(
        ("instructions", "stream", "max_output_tokens", "temperature", "top_p", "reasoning", "text", "tools")
    )
    assert read(**unset, tool_choice=None, previous_response_id=None, conversation=None, prompt=None) == read()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"role": "user", "content": "x"}, Message("user", text("x"))),
        ({"type": "message", "role": "system", "content": "x"}, Message("system", text("x"))),
        ({"role": "developer", "content": [{"type": "input_text", "text": "x"}]}, Message("system", text("x"))),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}], "id": "msg_1"},
            Message("assistant", text("x")),
        ),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, Message("assistant", text("no"))),
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
                ],
            },
            Message("user", (TextPart("see"), ImagePart(PNG, "image/png"))),
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": f"data:;base64,{PNG}"}]},
            Message("user", (ImagePart(PNG, "image/png"),)),
        ),
        (CALL, Message("assistant", tool_calls=(ToolCall("c1", "f", {"b": 1, "a": None}),))),
        ({**CALL, "arguments": ""}, Message("assistant", tool_calls=(ToolCall("c1", "f", {}),))),
        (
            {**CALL, "namespace": "crm"},
            Message("assistant", tool_calls=(ToolCall("c1", "crm__f", {"b": 1, "a": None}),)),
        ),
        (RESULT, Message("tool", text("r"), tool_call_id="c1")),
        (
            {**RESULT, "output": [{"type": "input_text", "text": "r"}, {"type": "output_text", "text": "s"}]},
            Message("tool", (TextPart("r"), TextPart("s")), tool_call_id="c1"),
        ),
        (
            {**RESULT, "output": [{"type": "input_image", "image_url": PNG_URL}], "name": "f"},
            Message("tool", (ImagePart(PNG, "image/png"),), tool_call_id="c1", tool_name="f"),
        ),
        ({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "t"}, Message("assistant", (), "t")),
        (
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "t"},
            Message("assistant", (), "s"),
        ),
        (
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "whole"}],
            },
            Message("assistant", (), "whole"),
        ),
    ],
)
def test_an_item_is_read(item: dict[str, Any], message: Message) -> None:
    assert read(input=[item]).messages == (message,)


def test_what_the_model_said_in_one_go_is_one_turn() -> None:
    items = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "summary": [], "encrypted_content": "t"},
        {"role": "assistant", "content": "a"},
        CALL,
        {**CALL, "call_id": "c2"},
        RESULT,
        {**RESULT, "call_id": "c2"},
        {"role": "assistant", "content": "done"},
    ]
    arguments = {"b": 1, "a": None}
    assert read(input=items).messages == (
        Message("user", text("q")),
        Message("assistant", text("a"), "t", (ToolCall("c1", "f", arguments), ToolCall("c2", "f", arguments))),
        Message("tool", text("r"), tool_call_id="c1", tool_name="f"),
        Message("tool", text("r"), tool_call_id="c2", tool_name="f"),
        Message("assistant", text("done")),
    )


def test_two_answers_in_a_row_stay_two_turns() -> None:
    items = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert [message.text for message in read(input=items).messages] == ["a", "b"]


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "status": "completed"},
        {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]},
        {**CALL, "id": "fc_1", "status": "completed"},
        RESULT,
    ]  # fmt: skip
    turn, result = read(input=items).messages
    assert (turn.thinking, turn.text, turn.tool_calls[0].call_id) == ("t", "a", "c1")
    assert result.tool_call_id == "c1"


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", False),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("max", "max"),
        ("xhigh", "max"),
        ("ultra", "max"),
    ],
)
def test_an_effort_is_an_amount_of_thinking(effort: str, thinking: object) -> None:
    assert read(reasoning={"effort": effort}).thinking == thinking


@pytest.mark.parametrize(
    ("format_", "wanted"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonFormat()),
        ({"type": "json_schema", "schema": {}}, JsonFormat({})),
    ],
)
def test_a_format_is_read(format_: dict[str, Any], wanted: JsonFormat | None) -> None:
    assert read(text={"format": format_, "verbosity": "low"}).response_format == wanted


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("required", "f")),
        ({"type": "function", "name": "find", "namespace": "crm"}, ToolChoice("required", "crm__find")),
    ],
)
def test_a_choice_of_tools_is_read(choice: object, wanted: ToolChoice) -> None:
    assert read(tools=[FUNCTION, SPACE], tool_choice=choice).tool_choice == wanted


def test_tools_in_a_namespace_are_flattened_and_keep_their_names_for_the_client() -> None:
    body = read_body(json.dumps({"model": "m", "input": "hi", "tools": [FUNCTION, SPACE]}).encode())
    assert [tool.name for tool in read_request(body).tools] == ["f", "crm__find"]
    assert read_names(body) == {"crm__find": ("crm", "find")}


def test_the_offer_to_search_the_web_is_not_passed_on() -> None:
    tools = [{"type": "web_search", "external_web_access": True}, {"type": "web_search_preview"}, FUNCTION]
    assert [tool.name for tool in read(tools=tools).tools] == ["f"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": ""}, "input is required; send a string or a list of items"),
        ({"input": []}, "input is required; send a string or a list of items"),
        ({"input": 5}, "input must be a list"),
        ({"input": ["x"]}, "input.0 must be an object"),
        ({"input": [{"role": "robot", "content": "x"}]}, "invalid role 'robot'; use user"),
        ({"input": [{"content": "x"}]}, "invalid role ''"),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content must be a list"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "content of type 'input_file' is not"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "content of type 'input_audio' is not"),
        ({"input": [{"type": "web_search_call", "action": {}}]}, "items of type 'web_search_call' are not supported"),
        ({"input": [{"type": "computer_call_output", "output": {}}]}, "items of type 'computer_call_output'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "nothing is stored here, send the item itself"),
        ({"input": [{"type": 5}]}, "input.0.type must be a string"),
        ({"input": [{**CALL, "name": ""}]}, "a function_call needs a name"),
        ({"input": [{**CALL, "arguments": "[1]"}]}, "invalid tool call arguments"),
        ({"input": [{**CALL, "arguments": "{"}]}, "unexpected EOF"),
        ({"input": [{**CALL, "arguments": '{"a":' + "[" * 200 + "]" * 200 + "}"}]}, "nested too deeply"),
        ({"input": [{**RESULT, "call_id": ""}]}, "needs the call_id"),
        ({"input": [CALL] * 129}, "a turn may hold 128 function calls"),
        ({"input": [{"role": "user", "content": "x"}] * 2_001}, "input may hold 2000 items"),
        ({"input": [{"role": "user", "content": [{"text": "x"}] * 2_001}]}, "content may hold 2000 parts"),
        ({"previous_response_id": "resp_1"}, "previous_response_id is not supported: nothing is stored here; send"),
        ({"conversation": "conv_1"}, "conversation is not supported: nothing is stored here; send the whole"),
        ({"conversation": {"id": "conv_1"}}, "conversation is not supported"),
        ({"prompt": {"id": "p"}}, "prompt is not supported"),
        ({"background": True}, "background is not supported"),
        ({"max_output_tokens": 2**63}, "max_output_tokens is out of range"),
        ({"temperature": 10**10}, "temperature is out of range"),
        ({"max_output_tokens": 0}, "max_output_tokens must be at least 1"),
        ({"max_output_tokens": "7"}, "max_output_tokens must be a whole number"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"stream": 1}, "stream must be true or false"),
        ({"instructions": ["x"]}, "instructions must be a string"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format 'grammar' is not supported"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format needs a schema"),
        ({"tools": [{"type": "file_search"}]}, "tools of type 'file_search' are not supported; send functions"),
        ({"tools": [{**SPACE, "tools": [{"type": "custom", "name": "x"}]}]}, "tools of type 'custom'"),
        ({"tools": [{"type": "function"}]}, "every function in tools needs a name"),
        ({"tools": [FUNCTION, FUNCTION]}, "two tools are named 'f'"),
        ({"tools": [FUNCTION] * 129}, "tools may hold 128 items at most"),
        ({"tools": [{**SPACE, "tools": [{"name": str(i)} for i in range(129)]}]}, "128 functions at most"),
        ({"tools": [FUNCTION], "tool_choice": "any"}, "tool_choice 'any' is not supported"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice 'web_search' is not"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "g"}}, "names 'g', which is not among"),
        ({"tool_choice": "required"}, "there are no functions among the tools"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_sentence(body: dict[str, Any], words: str) -> None:
    assert words in refusal(**body)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.org/a.png", "image URLs are not currently supported, please use base64 encoded data instead"),
        ("HTTP://example.org/a.png", "image URLs are not currently supported, please use base64 encoded data instead"),
        ("file:///etc/passwd", "invalid image input"),
        ("data:text/plain;base64,AAAA", "invalid image input"),
        ("", "invalid image input"),
        ("data:image/png;base64,####", "illegal base64 data at input byte 0"),
        ("data:image/png;base64,AAAA", "this image cannot be read"),
    ],
)
def test_an_image_that_is_no_data_is_refused_and_never_fetched(url: str, words: str) -> None:
    items = [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]
    assert words in refusal(input=items)


def test_images_are_counted_over_the_whole_conversation() -> None:
    image = {"type": "input_image", "image_url": PNG_URL}
    items = [{"role": "user", "content": [image] * 9}, {**RESULT, "output": [image] * 8}]
    assert refusal(input=items) == "a conversation may hold 16 images at most; remove older ones"


def test_an_unknown_effort_is_refused_in_ollamas_words() -> None:
    assert refusal(reasoning={"effort": "bogus"}) == (
        'invalid reasoning value: "bogus" '
        '(must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none")'
    )


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"7", b"{", b"\xff", b'{"input":' + b"[" * 500])
def test_what_is_no_request_is_a_clients_mistake(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(read_body(raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["type", "role", "content", "output", "summary", "call_id", "name", "arguments", "namespace"])
WORDS = st.sampled_from(["message", "function_call", "function_call_output", "reasoning", "user", "assistant", "{}"])


@given(st.lists(st.dictionaries(KEYS, WORDS | JSON, max_size=5), max_size=4), st.dictionaries(st.text(), JSON))
def test_wild_items_are_read_or_refused_and_never_fail(items: list[dict[str, Any]], more: dict[str, Any]) -> None:
    raw = json.dumps({**more, "model": "m", "input": items}).encode()
    with contextlib.suppress(InvalidRequest):
        messages = read_request(read_body(raw)).messages
        assert all(message.role in {"system", "user", "assistant", "tool"} for message in messages)


@given(
    st.dictionaries(
        st.sampled_from(
            ["instructions", "stream", "tools", "tool_choice", "text", "reasoning", "top_p", "conversation"]
        ),
        JSON,
    )
)
def test_wild_fields_are_read_or_refused_and_never_fail(fields: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert read(**fields).model == "m"


@pytest.mark.parametrize(
    ("raw", "words"), [(b" ", "EOF"), (b"[]", "the request body must be a JSON object"), (b"{", "unexpected EOF")]
)
def test_a_body_that_is_none_is_told_as_on_openais_other_routes(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(raw)
    assert caught.value.message == words
