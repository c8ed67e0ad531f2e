"""Each field of a request arrives at each kind of upstream in that upstream's form."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    ImagePart,
    JsonFormat,
    Message,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolSpec,
)
from backend.wire.mistral import request as mistral
from backend.wire.mistral.messages import MessageStyle
from backend.wire.ollama import upstream as ollama
from backend.wire.ollama.inbound import read_chat
from backend.wire.ollama.schemas import ChatBody, read_body
from backend.wire.openai import request as openai
from backend.wire.openai.options import Dialect
from backend.wire.openai.reasoning import ReasoningStyle

HI = Message("user", (TextPart("hi"),))
IMAGE = ImagePart("iVBORw0KGgo=", "image/png")
URL = "data:image/png;base64,iVBORw0KGgo="
SERVERS = ("mistral", *Dialect)
every_server = pytest.mark.parametrize("server", SERVERS)
every_dialect = pytest.mark.parametrize("dialect", Dialect)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**SCHEMA, "additionalProperties": False}


def send(
    server: str, *messages: Message, reasons: bool = False, style: ReasoningStyle = ReasoningStyle.NONE, **fields: Any
) -> dict[str, Any]:
    """Return the body of a chat request as `server` gets it."""
    request = ChatRequest("m", messages or (HI,), **fields)
    if server == "mistral":
        return mistral.write_chat(request, mistral.ModelStyle(MessageStyle(reasons=reasons)))
    return openai.write_chat(request, Dialect(server), style)


@every_server
def test_the_least_request_holds_nothing_the_caller_did_not_say(server: str) -> None:
    body = send(server)
    options = {} if server == "mistral" else {"stream_options": {"include_usage": True}}
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **options}


@every_server
def test_an_answer_is_streamed_even_when_the_caller_wants_it_whole(server: str) -> None:
    assert send(server, stream=False)["stream"] is True


@pytest.mark.parametrize(
    ("server", "url"), [("mistral", URL), *((dialect, {"url": URL}) for dialect in Dialect)], ids=SERVERS
)
def test_an_image_stands_where_the_caller_put_it_as_a_data_url(server: str, url: object) -> None:
    body = send(server, Message("user", (TextPart("before:"), IMAGE, TextPart("after:"), IMAGE)))
    image = {"type": "image_url", "image_url": url}
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "before:"},
        image,
        {"type": "text", "text": "after:"},
        image,
    ]
    alone = send(server, Message("user", (IMAGE,)))
    assert alone["messages"][0]["content"] == [{"type": "image_url", "image_url": url}]


THOUGHT = Message("assistant", (TextPart("4"),), thinking="2+2")
CHUNK = {"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}


@pytest.mark.parametrize(
    ("server", "sent"),
    [
        (Dialect.VLLM, {"content": "4", "reasoning": "2+2"}),
        (Dialect.LLAMACPP, {"content": "4", "reasoning_content": "2+2"}),
        (Dialect.LMSTUDIO, {"content": "4", "reasoning_content": "2+2"}),
        (Dialect.OPENAI, {"content": "4"}),
        ("mistral", {"content": "4"}),
    ],
)
def test_thoughts_of_earlier_turns_go_where_the_server_reads_them(server: str, sent: dict[str, Any]) -> None:
    assert send(server, HI, THOUGHT, HI)["messages"][1] == {"role": "assistant", **sent}


def test_a_reasoning_model_of_mistral_gets_its_thoughts_back() -> None:
    body = send("mistral", HI, THOUGHT, HI, Message("assistant", thinking="2+2"), HI, reasons=True)
    assert body["messages"][1]["content"] == [CHUNK, {"type": "text", "text": "4"}]
    assert body["messages"][3]["content"] == [CHUNK]


CALL = ToolCall("abcdefghi", "get_weather", {"city": "Orléans", "n": 1})
TOOL_TURNS = (HI, Message("assistant", tool_calls=(CALL,)), Message("tool", (TextPart("sunny"),), tool_name="x y"))


@every_server
def test_a_call_of_the_history_has_its_arguments_as_compact_text(server: str) -> None:
    turn = send(server, *TOOL_TURNS)["messages"][1]
    assert turn["tool_calls"] == [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": '{"city":"Orléans","n":1}'},
        }
    ]
    assert turn["content"] in ("", None)
    assert server != "mistral" or turn["content"] == ""


@every_server
def test_a_result_names_the_call_it_answers(server: str) -> None:
    assert send(server, *TOOL_TURNS)["messages"][2] == {
        "role": "tool",
        "tool_call_id": "abcdefghi",
        "content": "sunny",
    }


@pytest.mark.parametrize(("name", "is_kept"), [("get_weather", True), ("a-b", True), ("x" * 65, False), ("é", False)])
def test_mistral_gets_the_name_of_a_tool_only_as_it_takes_it(name: str, is_kept: bool) -> None:
    turns = (HI, Message("assistant", tool_calls=(ToolCall("", name, {}),)), Message("tool", tool_name=name))
    call, result = send("mistral", *turns)["messages"][1:]
    sent = call["tool_calls"][0]["function"]["name"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sent)
    assert (sent == name) is is_kept
    assert result.get("name", sent) == sent


@every_dialect
@pytest.mark.parametrize(("given", "is_kept"), [("call_1", True), ("", False)])
def test_a_call_keeps_its_id_or_gets_one_that_stays_the_same(dialect: Dialect, given: str, is_kept: bool) -> None:
    turns = (HI, Message("assistant", tool_calls=(ToolCall(given, "f", {}), ToolCall("", "g", {}))))
    first, second = (send(dialect, *turns)["messages"] for _ in range(2))
    assert first == second
    ids = [call["id"] for call in first[1]["tool_calls"]]
    assert (ids[0] == given) is is_kept
    assert len(set(ids)) == 2
    assert [message["tool_call_id"] for message in first[2:]] == ids


@every_dialect
def test_an_image_a_tool_returned_is_not_lost(dialect: Dialect) -> None:
    turns = (*TOOL_TURNS[:2], Message("tool", (TextPart("see"), IMAGE)))
    assert IMAGE.data in str(send(dialect, *turns)["messages"])


@every_dialect
def test_a_result_without_a_call_is_told_as_the_users_words(dialect: Dialect) -> None:
    body = send(dialect, HI, Message("tool", (TextPart("sunny"),), tool_call_id="gone"))
    assert body["messages"][1] == {"role": "user", "content": "sunny"}


PREFILL = (HI, Message("assistant", (TextPart("The"),)))


def test_a_trailing_assistant_turn_is_continued_where_the_server_can() -> None:
    assert send("mistral", *PREFILL)["messages"][-1] == {"role": "assistant", "content": "The", "prefix": True}
    vllm = send(Dialect.VLLM, *PREFILL)
    assert (vllm["continue_final_message"], vllm["add_generation_prompt"]) == (True, False)
    for dialect in (Dialect.LLAMACPP, Dialect.LMSTUDIO, Dialect.OPENAI):
        body = send(dialect, *PREFILL)
        assert body["messages"][-1] == {"role": "assistant", "content": "The"}
        assert not {"continue_final_message", "add_generation_prompt"} & body.keys()


@pytest.mark.parametrize("messages", [(HI,), TOOL_TURNS, (*TOOL_TURNS, HI)])
def test_vllm_starts_a_new_turn_after_anyone_else(messages: tuple[Message, ...]) -> None:
    assert "continue_final_message" not in send(Dialect.VLLM, *messages)


PARAMETERS = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "x",
    "type": "object",
    "properties": {"a": {"type": ["string", "null"], "default": None, "minimum": -9007199254740991}},
    "additionalProperties": False,
}


@every_server
def test_a_tool_keeps_its_schema(server: str) -> None:
    tool = send(server, tools=(ToolSpec("f", "does", PARAMETERS),))["tools"][0]
    noise = {"$schema", "$id"} if server == "mistral" else set()
    kept = {key: value for key, value in PARAMETERS.items() if key not in noise}
    assert tool == {"type": "function", "function": {"name": "f", "description": "does", "parameters": kept}}


@every_server
def test_a_tool_without_parameters_takes_an_empty_object(server: str) -> None:
    tool = send(server, tools=(ToolSpec("f"),))["tools"][0]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


@every_server
def test_no_tools_means_no_field(server: str) -> None:
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & send(server, tools=()).keys()


NAMED = {"type": "function", "function": {"name": "f"}}


@every_server
@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (ToolChoice("auto"), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("required", "f"), NAMED),
    ],
)
def test_tools_are_forced_or_forbidden_in_the_servers_words(server: str, choice: ToolChoice, sent: object) -> None:
    body = send(server, tools=(ToolSpec("f"),), tool_choice=choice)
    assert body["tool_choice"] == sent
    assert "parallel_tool_calls" not in body
    assert "tool_choice" not in send(server, tool_choice=choice)


@every_server
@pytest.mark.parametrize("parallel", [True, False])
def test_calls_side_by_side_are_allowed_or_not_where_there_are_tools(server: str, parallel: bool) -> None:
    assert send(server, tools=(ToolSpec("f"),), parallel_tool_calls=parallel)["parallel_tool_calls"] is parallel
    assert "parallel_tool_calls" not in send(server, parallel_tool_calls=parallel)


@pytest.mark.parametrize(
    ("choice", "are_sent"),
    [(None, True), (ToolChoice("auto"), True), (ToolChoice("required"), True), (ToolChoice("none"), False)],
)
def test_an_ollama_machine_knows_no_choice_so_forbidden_tools_are_left_out(
    choice: ToolChoice | None, are_sent: bool
) -> None:
    body = ollama.write_chat(ChatRequest("m", (HI,), tools=(ToolSpec("f"),), tool_choice=choice))
    assert ("tools" in body) is are_sent
    assert "tool_choice" not in body


ANY_JSON = {"type": "json_object"}
PERMISSIVE = {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}, "strict": True}}
JSON_HI = Message("user", (TextPart("Answer as JSON"),))


@every_server
def test_json_mode_is_asked_for_in_the_servers_words(server: str) -> None:
    sent = send(server, JSON_HI, response_format=JsonFormat())["response_format"]
    assert sent == (PERMISSIVE if server == Dialect.LMSTUDIO else ANY_JSON)


@pytest.mark.parametrize("server", ["mistral", Dialect.OPENAI])
@pytest.mark.parametrize("messages", [(HI,), (Message("system", (TextPart("Be kind."),)), HI)])
def test_some_message_says_json_where_the_server_needs_it(server: str, messages: tuple[Message, ...]) -> None:
    said = send(server, *messages, response_format=JsonFormat())["messages"]
    assert any("JSON" in message["content"] for message in said if message["role"] == "system")
    assert said[-1] == {"role": "user", "content": "hi"}


@pytest.mark.parametrize("server", ["mistral", Dialect.OPENAI])
@pytest.mark.parametrize("wanted", [None, JsonFormat(SCHEMA)])
def test_nothing_is_added_when_json_is_said_or_not_needed(server: str, wanted: JsonFormat | None) -> None:
    assert len(send(server, response_format=wanted)["messages"]) == 1
    assert len(send(server, JSON_HI, response_format=JsonFormat())["messages"]) == 1


@pytest.mark.parametrize("server", ["mistral", Dialect.OPENAI])
def test_letters_inside_an_image_do_not_count_as_saying_json(server: str) -> None:
    picture = Message("user", (TextPart("read it"), ImagePart("AAAAjsonAAAA", "image/png")))
    said = send(server, picture, response_format=JsonFormat())["messages"]
    assert any("JSON" in str(message["content"]) for message in said)


@every_server
def test_a_schema_is_sent_under_the_name_response(server: str) -> None:
    sent = send(server, response_format=JsonFormat(SCHEMA))["response_format"]
    schema = CLOSED if server == "mistral" else SCHEMA
    strict = server != Dialect.OPENAI
    expected = {"name": "response", "schema": schema, "strict": strict}
    assert sent == {"type": "json_schema", "json_schema": expected}


def test_mistrals_schemas_are_closed_at_every_depth() -> None:
    inner = {"type": "array", "items": SCHEMA, "anyOf": [SCHEMA, {"type": "null"}]}
    opened = {"type": "object", "properties": {"x": inner, "y": {**SCHEMA, "additionalProperties": True}}}
    closed = mistral.close_objects(opened)
    assert closed["additionalProperties"] is False
    assert closed["properties"]["x"] == {"type": "array", "items": CLOSED, "anyOf": [CLOSED, {"type": "null"}]}
    assert closed["properties"]["y"]["additionalProperties"] is True
    assert "additionalProperties" not in opened


@every_server
@pytest.mark.parametrize("count", [0, 3])
def test_logprobs_are_asked_for_and_zero_alternatives_are_not(server: str, count: int) -> None:
    body = send(server, logprobs=True, top_logprobs=count)
    assert body["logprobs"] is True
    assert body.get("top_logprobs") == (count or None)
    assert not {"logprobs", "top_logprobs"} & send(server, top_logprobs=count).keys()


def test_openai_reasoning_models_are_not_asked_for_logprobs() -> None:
    body = send(Dialect.OPENAI, logprobs=True, top_logprobs=2, style=ReasoningStyle.EFFORT)
    assert not {"logprobs", "top_logprobs"} & body.keys()


@every_server
@pytest.mark.parametrize(("keep_alive", "ttl"), [(b'"5m"', 300), (b"90", 90), (b"0", None), (b"-1", None)])
def test_keep_alive_reaches_lm_studio_and_nobody_else(server: str, keep_alive: bytes, ttl: int | None) -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"keep_alive":%s}' % keep_alive
    request = read_chat(read_body(raw, ChatBody))
    body = send(server, keep_alive=request.keep_alive)
    assert "keep_alive" not in body
    assert body.get("ttl") == (ttl if server == Dialect.LMSTUDIO else None)


MARKS = openai.FimTemplate("<pre>", "<suf>", "<mid>")


@pytest.mark.parametrize(
    ("suffix", "fim", "prompt"),
    [
        ("after", MARKS, "<pre>before<suf>after<mid>"),
        ("after", openai.FimTemplate("[P]", "[S]", "", suffix_first=True), "[S]after[P]before"),
        ("", MARKS, "<pre>before<suf><mid>"),
        (None, MARKS, "before"),
        (None, None, "before"),
    ],
)
def test_a_gap_is_written_in_the_familys_marks(suffix: str | None, fim: openai.FimTemplate | None, prompt: str) -> None:
    body = openai.write_completion(CompletionRequest("m", "before", suffix), fim)
    assert body["prompt"] == prompt
    assert "suffix" not in body
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_a_raw_prompt_goes_to_mistral_as_a_gap_without_an_end() -> None:
    body = mistral.write_fim(CompletionRequest("codestral-latest", "before"))
    assert "suffix" not in body
    assert body["prompt"] == "before"


@pytest.mark.parametrize(
    ("model", "dimensions", "extra"),
    [
        ("codestral-embed", 256, {"output_dimension": 256}),
        ("codestral-embed-2505", None, {}),
        ("mistral-embed", 256, {}),
    ],
)
def test_only_codestral_embed_is_asked_for_a_dimension(
    model: str, dimensions: int | None, extra: Mapping[str, Any]
) -> None:
    body = mistral.write_embed(EmbedRequest(model, ("a", "b"), dimensions))
    assert body == {"model": model, "input": ["a", "b"], **extra}
