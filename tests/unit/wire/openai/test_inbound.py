"""The bodies of OpenAI's routes become canonical requests; what cannot be honoured is refused by name."""

import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import GatewayError, InvalidRequest
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
    ToolChoice,
    ToolSpec,
)
from backend.wire import body as limits
from backend.wire.openai import inbound
from backend.wire.openai.schemas import ChatBody, CompletionBody, EmbeddingsBody, read_body

IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
LINK = f"data:;base64,{IMAGE}"
PNG = ImagePart(IMAGE, "image/png")
USER = {"role": "user", "content": "hi"}
HI = Message("user", (TextPart("hi"),))
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": null}'}}
REFUSAL = {"type": "refusal", "refusal": "no"}
SCHEMA = {"name": "n", "strict": True, "schema": {"type": "object"}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def chat(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [USER], **fields}
    return inbound.read_chat(read_body(json.dumps(body).encode(), ChatBody))


def completion(**fields: Any) -> ChatRequest | CompletionRequest:
    body = {"model": "m", "prompt": "p", **fields}
    return inbound.read_completion(read_body(json.dumps(body).encode(), CompletionBody))


def embed(**fields: Any) -> EmbedRequest:
    return inbound.read_embed(read_body(json.dumps({"model": "m", **fields}).encode(), EmbeddingsBody))


def refusal(read: Callable[..., Any], **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return caught.value.message


def turn(**fields: Any) -> Message:
    return chat(messages=[fields]).messages[0]


def image(url: object) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": url}]


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (USER, HI),
        ({"role": "User", "content": "hi", "name": "Ann"}, HI),
        ({"role": "user", "content": ""}, Message("user")),
        ({"role": "user", "content": []}, Message("user")),
        ({"role": "developer", "content": "x"}, Message("system", (TextPart("x"),))),
        ({"role": "assistant", "content": "4", "reasoning": "2+2"}, Message("assistant", (TextPart("4"),), "2+2")),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            Message("assistant", (TextPart("4"),), "2+2"),
        ),
        ({"role": "assistant", "content": [REFUSAL]}, Message("assistant", (TextPart("no"),))),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
            Message("assistant", tool_calls=(ToolCall("c1", "f", {"b": 1, "a": None}),)),
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]},
            Message("assistant", tool_calls=(ToolCall("", "f", {}),)),
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            Message("assistant", tool_calls=(ToolCall("", "f", {"a": 1}),)),
        ),
        (
            {"role": "tool", "content": "r", "tool_call_id": "c1", "name": "g"},
            Message("tool", (TextPart("r"),), tool_call_id="c1", tool_name="g"),
        ),
        ({"role": "tool", "content": None, "tool_call_id": "c1"}, Message("tool", tool_call_id="c1")),
    ],
)  # fmt: skip
def test_a_turn_is_read(sent: dict[str, Any], read: Message) -> None:
    assert turn(**sent) == read


def test_the_parts_of_a_turn_stay_one_message_in_their_order() -> None:
    parts = [{"type": "text", "text": "a"}, *image({"url": f"data:image/png;base64,{IMAGE}", "detail": "low"}),
             {"type": "text", "text": "b"}, {"type": "text", "text": ""}]  # fmt: skip
    assert turn(role="user", content=parts).content == (TextPart("a"), PNG, TextPart("b"))


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_a_turn_may_hold_nothing_but_reasoning(field: str) -> None:
    assert turn(role="assistant", content=None, **{field: "2+2"}) == Message("assistant", thinking="2+2")


@pytest.mark.parametrize("head", ["data:image/png;base64,", "data:;base64,", "DATA:image/JPEG;base64,"])
@pytest.mark.parametrize("wrap", [lambda url: {"url": url}, lambda url: url])
def test_an_image_is_read_from_a_data_url_and_its_type_from_its_bytes(head: str, wrap: Callable[[str], Any]) -> None:
    assert turn(role="user", content=image(wrap(head + IMAGE))).content == (PNG,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (image("http://x/a.png"), "image URLs are not currently supported, please use base64 encoded data instead"),
        (image({"url": "HTTPS://x/a.png"}), "image URLs are not currently supported"),
        (image("file:///etc/passwd"), "invalid image input"),
        (image("data:text/html;base64,AAAA"), "invalid image input"),
        (image(IMAGE), "invalid image input"),
        (image("data:image/png;base64,@@@@"), "illegal base64"),
        (image("data:image/png;base64,AAAA"), "cannot be read"),
        (image(7), "invalid message format"),
        (image({}), "invalid message format"),
        ([{"type": "text"}], "invalid message format"),
        ([{"type": "text", "text": 7}], "invalid message format"),
        ([{"type": "video"}], "invalid message format"),
        ([{"type": []}], "invalid message format"),
        (["text"], "invalid message format"),
        ([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}], "audio in messages"),
        (7, "message content must be"),
        ({"text": "x"}, "message content must be"),
        (None, "invalid message content type: <nil>"),
    ],
)
def test_content_that_cannot_be_read_is_refused(content: object, words: str) -> None:
    assert words in refusal(chat, messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize("arguments", ["{", "[]", "7", '"x"', 7, ["a"], "9" * 5_000, "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(arguments: object) -> None:
    call = {"function": {"name": "f", "arguments": arguments}}
    assert refusal(chat, messages=[{"role": "assistant", "tool_calls": [call]}]) == "invalid tool call arguments"


def test_arguments_hidden_in_text_have_the_same_depth_as_others() -> None:
    deep = '{"a":' * 500 + "1" + "}" * 500
    call = {"function": {"name": "f", "arguments": deep}}
    assert "too deeply" in refusal(chat, messages=[{"role": "assistant", "tool_calls": [call]}])


def test_a_result_gets_the_name_of_the_tool_it_comes_from() -> None:
    asked = {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2", "function": {"name": "g"}}]}
    results = [{"role": "tool", "content": "r", "tool_call_id": name} for name in ("c2", "c1", "gone")]
    assert [m.tool_name for m in chat(messages=[asked, *results]).messages[1:]] == ["g", "f", ""]


def test_a_whole_chat_request_is_read() -> None:
    request = chat(
        tools=[TOOL, {"function": {"name": "g"}}],
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": SCHEMA},
        reasoning_effort="low",
        logprobs=True,
        top_logprobs=2,
        stream=True,
        stream_options={"include_usage": True},
        temperature=0,
        top_p=0.5,
        top_k=-1,
        min_p=0.1,
        seed=7,
        stop="x",
        max_tokens=3,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        user="u",
        logit_bias={"1": 2},
        store=None,
        metadata={"a": "b"},
    )  # fmt: skip
    assert request == ChatRequest(
        "m",
        (HI,),
        tools=(ToolSpec("f", "d", {"type": "object"}), ToolSpec("g")),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
        sampling=Sampling(
            temperature=0.0,
            top_p=0.5,
            top_k=0,
            min_p=0.1,
            seed=7,
            stop=("x",),
            max_tokens=3,
            presence_penalty=1.0,
            frequency_penalty=-1.0,
            repeat_penalty=1.1,
        ),
        response_format=JsonFormat({"type": "object"}),
        thinking="low",
        logprobs=True,
        top_logprobs=2,
    )


def test_what_is_not_said_stays_unsaid() -> None:
    nulls = dict.fromkeys(
        ("temperature", "top_p", "n", "stop", "seed", "tools", "tool_choice", "response_format", "reasoning",
         "reasoning_effort", "stream_options", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs",
         "parallel_tool_calls", "stream")
    )  # fmt: skip
    assert chat() == chat(**nulls) == ChatRequest("m", (HI,), stream=False)


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 0}, None),
        ({}, None),
    ],
)
def test_both_names_of_the_limit_count_and_the_newer_one_wins(fields: dict[str, Any], limit: int | None) -> None:
    assert chat(**fields).sampling.max_tokens == limit


@pytest.mark.parametrize(
    ("effort", "thinking"),
    [
        ("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"),
        ("max", "max"), ("xhigh", "max"), ("ultra", "max"), ("", None),
    ],
)  # fmt: skip
def test_an_effort_is_read_from_either_field(effort: str, thinking: object) -> None:
    assert chat(reasoning_effort=effort).thinking == thinking
    assert chat(reasoning={"effort": effort}).thinking == thinking
    assert chat(reasoning={"effort": "max"}, reasoning_effort="low").thinking == "max"


def test_an_unknown_effort_is_refused_in_ollamas_words() -> None:
    assert refusal(chat, reasoning_effort="bogus") == (
        'invalid reasoning value: "bogus" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", "max", or'
        ' "none")'
    )


NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("choice", "tools", "read"),
    [
        ("auto", [TOOL], ToolChoice("auto")),
        ("none", [TOOL], ToolChoice("none")),
        ("required", [TOOL], ToolChoice("required")),
        (NAMED, [TOOL], ToolChoice("required", "f")),
        ("auto", [], ToolChoice("auto")),
        ("none", [], ToolChoice("none")),
        (None, [TOOL], None),
    ],
)
def test_a_tool_choice_is_read(choice: object, tools: list[Any], read: ToolChoice | None) -> None:
    assert chat(tools=tools, tool_choice=choice).tool_choice == read


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        ("required", []),
        (NAMED, []),
        ({"type": "function", "function": {"name": "g"}}, [TOOL]),
        ("always", [TOOL]),
        ({"type": "allowed_tools"}, [TOOL]),
        ({"type": "function"}, [TOOL]),
        ({"type": "function", "function": {"name": ""}}, [TOOL]),
        (7, [TOOL]),
        (["auto"], [TOOL]),
    ],
)
def test_a_tool_choice_that_cannot_be_kept_is_refused(choice: object, tools: list[Any]) -> None:
    assert "tool_choice" in refusal(chat, tools=tools, tool_choice=choice)


@pytest.mark.parametrize(
    ("wanted", "read"),
    [
        ({"type": "text"}, None),
        ({}, None),
        ({"type": "json_object"}, JsonFormat()),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, JsonFormat({})),
    ],
)
def test_a_format_is_read(wanted: dict[str, Any], read: JsonFormat | None) -> None:
    assert chat(response_format=wanted).response_format == read


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model is required"),
        ({"model": None}, "model is required"),
        ({"messages": []}, "[] is too short - 'messages'"),
        ({"messages": None}, "[] is too short - 'messages'"),
        ({"messages": [{"content": "x"}]}, "invalid role"),
        ({"n": 2}, "n must be 1"),
        ({"stop": 7}, "stop must be"),
        ({"stop": ["a", 7]}, "stop must be"),
        ({"stop": ["a"] * (limits.MAX_STOPS + 1)}, "stop may hold"),
        ({"stop": "a" * (limits.MAX_STOP_LENGTH + 1)}, "stop may hold"),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"top_logprobs": -1}, "top_logprobs must be between 0 and 20"),
        ({"tools": [{"type": "web_search"}]}, "'web_search' are not supported"),
        ({"tools": [{"type": "function"}]}, "needs a function with a name"),
        ({"response_format": {"type": "grammar"}}, "'grammar' is not supported"),
        ({"response_format": {"type": "json_schema"}}, "needs json_schema.schema"),
        ({"response_format": "json"}, "response_format must be an object"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"temperature": 1e300}, "temperature is out of range"),
        ({"temperature": 10**400}, "temperature"),
        ({"seed": 2**63}, "seed is out of range"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number"),
        ({"stream": "yes"}, "stream must be true or false"),
        ({"messages": {}}, "messages must be a list"),
        ({"messages": ["x"]}, "messages.0 must be an object"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools.0.function.parameters must be an object"),
        ({"messages": [USER] * (limits.MAX_MESSAGES + 1)}, "items at most"),
        ({"tools": [TOOL] * (limits.MAX_TOOLS + 1)}, "items at most"),
        ({"messages": [{**USER, "content": image(LINK) * (limits.MAX_IMAGES + 1)}]}, "images at most"),
        ({"messages": [{"role": "assistant", "tool_calls": [CALL] * (limits.MAX_TOOLS + 1)}]}, "tool calls at most"),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_be_honoured_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    message = refusal(chat, **fields)
    assert words in message
    assert len(message) < 200


class TestCompletions:
    """A prompt is a conversation of one turn, a suffix makes it a gap."""

    @pytest.mark.parametrize("prompt", ["p", ["p"]])
    def test_a_prompt_is_one_turn(self, prompt: object) -> None:
        expected = ChatRequest("m", (Message("user", (TextPart("p"),)),), stream=False)
        assert completion(prompt=prompt, suffix=None) == completion(prompt=prompt, suffix="") == expected

    @pytest.mark.parametrize("prompt", ["p", ""])
    def test_a_suffix_makes_it_a_gap(self, prompt: str) -> None:
        read = completion(prompt=prompt, suffix="s", max_tokens=3, stop=["x"], stream=True)
        assert read == CompletionRequest("m", prompt, "s", Sampling(max_tokens=3, stop=("x",)))

    @pytest.mark.parametrize(("asked", "read"), [(None, (False, 0)), (0, (True, 0)), (3, (True, 3))])
    def test_logprobs_are_a_number_here(self, asked: int | None, read: tuple[bool, int]) -> None:
        request = completion(logprobs=asked)
        assert isinstance(request, ChatRequest)
        assert (request.logprobs, request.top_logprobs) == read

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"model": ""}, "model is required"),
            ({"prompt": ""}, "the prompt is empty"),
            ({"prompt": None}, "prompt must be one string"),
            ({"prompt": ["a", "b"]}, "prompt must be one string"),
            ({"prompt": [1, 2]}, "prompt must be one string"),
            ({"prompt": [[1]]}, "prompt must be one string"),
            ({"prompt": []}, "prompt must be one string"),
            ({"echo": True}, "echo is not supported"),
            ({"best_of": 2}, "best_of must be 1"),
            ({"n": 2}, "n must be 1"),
            ({"logprobs": 21}, "logprobs must be between 0 and 20"),
            ({"logprobs": 1, "suffix": "s"}, "fill-in requests take no logprobs"),
        ],
    )
    def test_what_cannot_be_honoured_is_refused(self, fields: dict[str, Any], words: str) -> None:
        assert words in refusal(completion, **fields)


class TestEmbeddings:
    """Texts, one or many; never tokens."""

    @pytest.mark.parametrize(("sent", "read"), [("a", ("a",)), ("", ("",)), (["a", "b"], ("a", "b")), ([""], ("",))])
    def test_texts_are_read(self, sent: object, read: tuple[str, ...]) -> None:
        assert embed(input=sent, encoding_format="BASE64", user="u") == EmbedRequest("m", read)

    @pytest.mark.parametrize(("sent", "read"), [(0, None), (None, None), (256, 256)])
    def test_a_dimension_is_read(self, sent: int | None, read: int | None) -> None:
        assert embed(input="a", dimensions=sent).dimensions == read

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({}, "invalid input"),
            ({"input": []}, "invalid input"),
            ({"input": 7}, "invalid input"),
            ({"input": [1, 2]}, "tokens are not supported"),
            ({"input": [[1, 2]]}, "tokens are not supported"),
            ({"input": ["a"] * (limits.MAX_INPUTS + 1)}, "items at most"),
            (
                {"input": "a", "encoding_format": "hex"},
                "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].",
            ),
        ],
    )
    def test_what_is_no_text_is_refused(self, fields: dict[str, Any], words: str) -> None:
        assert words in refusal(embed, **fields)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "EOF"),
        (b" \n", "EOF"),
        (b"{", "unexpected EOF"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string"),
        (b"[]", "the request body must be a JSON object"),
        (b"null", "the request body must be a JSON object"),
        (b'{"a":' + b"[" * 100_000, "the JSON is nested too deeply"),
        (b'{"seed":1e400}', "seed must be a whole number"),
        (b'{"temperature":1e400}', "temperature is out of range"),
        (b'{"temperature":NaN}', "the JSON holds a number that cannot be read"),
    ],
)
@pytest.mark.parametrize("schema", [ChatBody, CompletionBody])
def test_a_body_that_cannot_be_read_is_told_why(
    raw: bytes, message: str, schema: type[ChatBody | CompletionBody]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(raw, schema)
    assert caught.value.message == message


KEYS = st.sampled_from(
    [*ChatBody.model_fields, *CompletionBody.model_fields, "input", "type", "function", "role", "content",
     "tool_calls", "arguments", "schema", "text", "image_url", "url", "effort"]
)  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
    ["user", "assistant", "tool", "text", "image_url", "function", "json_schema", "required", "{}", "data:;base64,AAAA"]
)  # fmt: skip
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=4), inner, max_size=6)
)
OBJECTS = st.dictionaries(KEYS, ANY_JSON, max_size=12)


@given(OBJECTS | ANY_JSON, st.booleans())
def test_no_json_can_do_more_than_be_refused(value: object, is_filled: bool) -> None:
    if is_filled and isinstance(value, dict):
        value = {"model": "m", "messages": [USER], "prompt": "p", "input": "i", **value}
    raw = json.dumps(value).encode()
    for schema, read in (
        (ChatBody, inbound.read_chat),
        (CompletionBody, inbound.read_completion),
        (EmbeddingsBody, inbound.read_embed),
    ):
        with contextlib.suppress(GatewayError):
            read(read_body(raw, schema))  # type: ignore[operator]


@given(st.binary(max_size=60))
def test_no_bytes_can_do_more_than_be_refused(raw: bytes) -> None:
    with contextlib.suppress(GatewayError):
        read_body(raw, ChatBody)
