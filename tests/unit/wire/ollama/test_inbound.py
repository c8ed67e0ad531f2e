"""Checked bodies become canonical requests; limits and images are checked on the way."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.core.errors import InvalidRequest
from backend.llm.types import (
    ChatRequest,
    EmbedRequest,
    ImagePart,
    JsonFormat,
    Message,
    Sampling,
    TextPart,
    ToolCall,
    ToolSpec,
)
from backend.wire import body as limits
from backend.wire.images import read_image
from backend.wire.ollama import inbound
from backend.wire.ollama.options import check_options, read_options, write_sampling
from backend.wire.ollama.schemas import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody, read_body

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
IMAGE = base64.b64encode(PNG).decode()


def chat(*, keep_source: bool = True, **fields: Any) -> ChatRequest:
    return inbound.read_chat(
        read_body(json.dumps({"model": "m", **fields}).encode(), ChatBody), keep_source=keep_source
    )


def generate(**fields: Any) -> GenerateBody:
    return read_body(json.dumps({"model": "m", **fields}).encode(), GenerateBody)


def embed(**fields: Any) -> EmbedRequest:
    return inbound.read_embed(read_body(json.dumps({"model": "m", **fields}).encode(), EmbedBody))


CALL = {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"b": 1, "a": None}}}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"role": "user", "content": "hi"}, Message("user", (TextPart("hi"),))),
        ({"role": "USER"}, Message("user")),
        ({"role": "developer", "content": "x"}, Message("system", (TextPart("x"),))),
        ({"role": "function", "content": "x"}, Message("tool", (TextPart("x"),))),
        ({"role": "user", "content": None, "images": []}, Message("user")),
        ({"role": "user", "content": "", "images": [IMAGE]}, Message("user", (ImagePart(IMAGE, "image/png"),))),
        ({"role": "assistant", "thinking": "hm"}, Message("assistant", thinking="hm")),
        (
            {"role": "assistant", "tool_calls": [CALL]},
            Message("assistant", tool_calls=(ToolCall("c1", "f", {"b": 1, "a": None}),)),
        ),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
            Message("assistant", tool_calls=(ToolCall("", "f", {}),)),
        ),
        (
            {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "c1"},
            Message("tool", (TextPart("r"),), tool_name="f", tool_call_id="c1"),
        ),
    ],
)
def test_a_turn_is_read(sent: dict[str, Any], read: Message) -> None:
    assert chat(messages=[sent]).messages == (read,)


def test_a_call_of_the_history_keeps_the_order_of_its_arguments() -> None:
    call = chat(messages=[{"role": "assistant", "tool_calls": [CALL]}]).messages[0].tool_calls[0]
    assert list(call.arguments) == ["b", "a"]


@pytest.mark.parametrize("role", ["", "robot", "x" * 1_000])
def test_an_unknown_role_is_refused(role: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid role") as caught:
        chat(messages=[{"role": role, "content": "x"}], keep_source=False)
    assert len(caught.value.message) < 120


def test_a_backend_that_speaks_the_format_judges_roles_and_images_itself() -> None:
    sound = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt ").decode()
    request = chat(messages=[{"role": "control", "content": "x", "images": [sound]}])
    assert request.source is not None
    assert request.source.body["messages"] == [{"role": "control", "content": "x", "images": [sound]}]
    with pytest.raises(InvalidRequest, match="cannot be read"):
        chat(messages=[{"role": "user", "images": [sound]}], keep_source=False)


def test_a_whole_chat_request_is_read() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    request = chat(
        messages=[],
        tools=[tool],
        format={"type": "object"},
        think="low",
        logprobs=True,
        top_logprobs=2,
        stream=False,
        keep_alive="1m",
        options={"seed": 1},
        extra=1,
    )
    assert request.tools == (ToolSpec("f", "d", {"type": "object"}),)
    assert request.response_format == JsonFormat({"type": "object"})
    assert (request.thinking, request.logprobs, request.top_logprobs) == ("low", True, 2)
    assert (request.stream, request.keep_alive, request.sampling) == (False, 60.0, Sampling(seed=1))
    assert request.source is not None
    assert request.source.path == "/api/chat"
    assert "extra" not in request.source.body
    assert "truncate" not in request.source.body


def test_what_the_caller_left_out_stays_unset() -> None:
    request = chat()
    assert request == ChatRequest("m", (), source=request.source)
    assert request.source is not None
    assert request.source.body == {"model": "m"}


def test_options_are_forwarded_with_their_types_only() -> None:
    request = chat(options={"seed": 3.7, "stop": ["a"], "unknown": 1, "mirostat": 2, "top_p": None})
    assert request.source is not None
    assert request.source.body["options"] == {"seed": 3, "stop": ("a",)}


@pytest.mark.parametrize(("value", "wanted"), [("json", JsonFormat()), ("", None), (None, None)])
def test_a_format_is_read(value: Any, wanted: JsonFormat | None) -> None:
    assert chat(format=value).response_format == wanted


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"messages": [{"role": "user"}] * (limits.MAX_MESSAGES + 1)}, "items at most"),
        ({"tools": [{}] * (limits.MAX_TOOLS + 1)}, "items at most"),
        ({"messages": [{"role": "user", "images": ["x"] * (limits.MAX_IMAGES + 1)}]}, "images at most"),
    ],
)
def test_a_request_over_a_limit_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        chat(**fields)


def test_a_generate_body_becomes_a_conversation() -> None:
    request = inbound.read_generate(generate(prompt="p", system="s", images=[IMAGE], context=[1]))
    assert request.messages == (
        Message("system", (TextPart("s"),)),
        Message("user", (TextPart("p"), ImagePart(IMAGE, "image/png"))),
    )
    assert inbound.read_generate(generate()).messages == (Message("user"),)


@pytest.mark.parametrize("fields", [{"template": "t"}, {"system": "s"}, {"context": [1]}])
def test_raw_excludes_what_a_template_would_use(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"^raw mode does not support template, system, or context$"):
        inbound.read_generate(generate(raw=True, prompt="p", **fields))


def test_a_generate_body_over_the_limit_of_images_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="images at most"):
        inbound.read_generate(generate(images=["x"] * (limits.MAX_IMAGES + 1)))


@pytest.mark.parametrize(("suffix", "read"), [("", None), ("after", "after")])
def test_a_raw_or_gapped_body_becomes_a_completion(suffix: str, read: str | None) -> None:
    request = inbound.read_completion(generate(prompt="p", suffix=suffix, stream=False, options={"num_predict": 5}))
    assert (request.prompt, request.suffix, request.stream) == ("p", read, False)
    assert request.sampling.max_tokens == 5


@pytest.mark.parametrize(
    ("value", "inputs"), [("a", ("a",)), (["a", ""], ("a", "")), ("", ()), (None, ()), ([], ()), ([""], ("",))]
)
def test_texts_to_embed_are_read(value: Any, inputs: tuple[str, ...]) -> None:
    assert embed(input=value).inputs == inputs


@pytest.mark.parametrize("value", [5, {}, [1], ["a", None], True])
def test_what_is_no_text_cannot_be_embedded(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid input type$"):
        embed(input=value)


def test_embedding_options_and_limits_are_checked() -> None:
    with pytest.raises(InvalidRequest, match="items at most"):
        embed(input=["a"] * (limits.MAX_INPUTS + 1))
    with pytest.raises(InvalidRequest, match='option "seed"'):
        embed(input="a", options={"seed": "x"})
    assert embed(input="a", dimensions=0).dimensions is None
    assert (embed(input="a", dimensions=3).dimensions, embed(input="a", truncate=False).truncate) == (3, False)


@pytest.mark.parametrize(("prompt", "inputs"), [("a", ("a",)), ("", ())])
def test_the_older_embedding_route_takes_one_prompt(prompt: str, inputs: tuple[str, ...]) -> None:
    body = read_body(json.dumps({"model": "m", "prompt": prompt}).encode(), EmbeddingsBody)
    assert inbound.read_embeddings(body).inputs == inputs


@pytest.mark.parametrize("count", [-1, 21])
def test_top_logprobs_have_a_range(count: int) -> None:
    with pytest.raises(InvalidRequest, match=r"^top_logprobs must be between 0 and 20$"):
        inbound.check_top_logprobs(generate(top_logprobs=count))


@pytest.mark.parametrize("count", [0, 20])
def test_top_logprobs_in_range_pass(count: int) -> None:
    inbound.check_top_logprobs(generate(top_logprobs=count))


SIGNED = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 20,
    "image/gif": b"GIF89a" + b"\0" * 20,
    "image/webp": b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 9,
}


@pytest.mark.parametrize(("media_type", "data"), SIGNED.items())
def test_an_image_is_known_by_its_bytes(media_type: str, data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert read_image(text) == ImagePart(text, media_type)
    assert read_image(f"{text[:4]}\r\n{text[4:]}\n") == ImagePart(text, media_type)


@pytest.mark.parametrize("data", [b"", b"BM" + b"\0" * 9, b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"\x89PN"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="PNG, JPEG, GIF or WebP"):
        read_image(base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("data:image/png;base64," + IMAGE, 4),
        ("AAA", 3),
        ("AAAAA", 5),
        ("AA_A", 2),
        ("A===", 3),
        ("AA=A", 3),
        ("é", 0),
        ("AA A", 2),
    ],
)
def test_what_is_no_base64_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(InvalidRequest, match=rf"^illegal base64 data at input byte {position}$"):
        read_image(text)


@given(st.text(max_size=20) | st.text(alphabet="Aiv/+=\n", max_size=24))
def test_any_text_is_an_image_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_image(text)


INTEGERS = [
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "repeat_last_n",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "draft_num_predict",
]
FLOATS = ["top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"]
WRONG = [
    *((name, value, "integer") for name in INTEGERS for value in ("1", True, [1], {}, 1e300, 2**70)),
    *((name, value, "float32") for name in FLOATS for value in ("1", True, [1], {}, 10**400)),
    *(("use_mmap", value, "boolean") for value in (1, "true", [])),
    *(("stop", value, "array") for value in ("x", 1, {})),
]


@pytest.mark.parametrize(("name", "value", "kind"), WRONG, ids=lambda value: str(value)[:12])
def test_an_option_of_the_wrong_type_is_refused_in_ollamas_words(name: str, value: Any, kind: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_options({name: value})
    assert caught.value.message == f'option "{name}" must be of type {kind}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["temperature", "seed"])
def test_a_number_that_is_none_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidRequest):
        check_options({name: value})


def test_stops_are_strings_and_not_too_many() -> None:
    with pytest.raises(InvalidRequest, match=r'^option "stop" must be of an array of strings$'):
        check_options({"stop": ["a", 1]})
    for value in (["a"] * 65, ["a" * 1025]):
        with pytest.raises(InvalidRequest, match="at most"):
            check_options({"stop": value})


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({}, Sampling()),
        ({"seed": 3.7, "temperature": 1}, Sampling(seed=3, temperature=1.0)),
        ({"num_predict": 5}, Sampling(max_tokens=5)),
        ({"num_predict": -1, "top_k": None, "unknown": []}, Sampling()),
        ({"num_ctx": 10, "use_mmap": True}, Sampling(extras={"num_ctx": 10, "use_mmap": True})),
        ({"mirostat": 2, "mirostat_tau": "x"}, Sampling(extras={"mirostat": 2})),
        ({"stop": ["a"]}, Sampling(stop=("a",))),
    ],
)
def test_options_are_read(options: dict[str, Any], sampling: Sampling) -> None:
    assert read_options(options) == sampling


@pytest.mark.parametrize(
    "options", [{}, {"seed": 3, "temperature": 0.5, "stop": ["a"], "num_predict": 9, "num_ctx": 10, "mirostat": 1}]
)
def test_options_are_written_back_as_they_were(options: dict[str, Any]) -> None:
    assert write_sampling(read_options(options)) == options
