"""One conversation has one fingerprint, in whatever shape a client sends it back (`clients.md` 6)."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.history.turns import keepable, kept_calls, message_of, read_conversation
from backend.llm.types import ImagePart, Message, TextPart, ToolCall
from backend.wire.anthropic.inbound import read_messages as read_anthropic
from backend.wire.anthropic.schemas import MessagesBody
from backend.wire.anthropic.schemas import read_body as anthropic_body
from backend.wire.ollama.inbound import read_chat
from backend.wire.ollama.schemas import ChatBody, read_body
from backend.wire.openai.inbound import read_chat as read_openai
from backend.wire.openai.schemas import ChatBody as OpenAIBody
from backend.wire.openai.schemas import read_body as openai_body

ANA, BOB = uuid.UUID(int=1), uuid.UUID(int=2)
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CALL = {"name": "weather", "arguments": {"city": "Paris", "days": 2}}
OPENAI_CALL = {"name": "weather", "arguments": '{ "days": 2.0, "city":"Paris"}'}
ASK = {"role": "user", "content": "How warm is it?"}
RESULT = {"role": "tool", "content": "21 degrees"}
SAYS = {"role": "assistant", "content": "It is warm."}
NEXT = {"role": "user", "content": "And tomorrow?"}

CALLING = {
    "ollama-python, LangChain, llm": ({"tool_calls": [{"function": CALL}]}, {"tool_name": "weather"}),
    "LlamaIndex, Haystack, Home Assistant": ({"tool_calls": [{"function": CALL}]}, {}),
    "LiteLLM": ({"content": "", "images": [], "tool_calls": [{"function": CALL}]}, {"tool_call_id": "1", "images": []}),
    "LangChain.js": ({"content": "", "tool_calls": [{"id": "u", "type": "function", "function": CALL}]}, {}),
    "Open WebUI": ({"content": "", "tool_calls": [{"index": 0, "id": "c", "function": CALL}]}, {"tool_call_id": "c"}),
    "ollama-ai-provider-v2": (
        {"content": "", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]},
        {"tool_call_id": "c"},
    ),
    "ai-sdk-ollama": ({"content": "", "tool_calls": [{"id": "c", "function": CALL}]}, {"tool_name": "weather"}),
    "Cline": (
        {"content": "", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]},
        {"tool_call_id": "c", "tool_name": "weather"},
    ),
    "null content": ({"content": None, "tool_calls": [{"function": CALL}]}, {}),
    "thinking sent back": ({"thinking": "hm", "tool_calls": [{"function": CALL}]}, {}),
    "extra fields": ({"tool_calls": [{"function": CALL}], "refusal": None, "name": "x"}, {"name": "weather"}),
}
"""What comes back of an assistant's call, and of the tool's result beside its text."""


def ollama(*messages: dict[str, Any]) -> tuple[Message, ...]:
    body = read_body(json.dumps({"model": "m", "messages": messages}).encode(), ChatBody)
    return read_chat(body).messages


def openai(*messages: dict[str, Any]) -> tuple[Message, ...]:
    body = openai_body(json.dumps({"model": "m", "messages": messages}).encode(), OpenAIBody)
    return read_openai(body).messages


def anthropic(*messages: dict[str, Any]) -> tuple[Message, ...]:
    body = anthropic_body(json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode(), MessagesBody)
    return read_anthropic(body).messages


def digests(messages: tuple[Message, ...], user: uuid.UUID = ANA) -> list[bytes]:
    return [turn.digest for turn in read_conversation(user, messages).turns]


def answered(messages: tuple[Message, ...], answer: Message) -> bytes:
    """What the recorder keeps as the fingerprint of an answer."""
    fingerprint = read_conversation(ANA, messages).fingerprint
    return fingerprint.add("assistant", answer.text, answer.tool_calls).digest()


PLAIN = ollama(ASK)
CALLED = Message("assistant", tool_calls=(ToolCall("upstream-id", "weather", {"days": 2, "city": "Paris"}),))


@pytest.mark.parametrize("client", CALLING)
def test_a_conversation_with_a_tool_is_recognised_from_every_client(client: str) -> None:
    turn, result = CALLING[client]
    sent = ollama(
        {"role": "system", "content": f"You are {client}."}, ASK, {"role": "assistant", **turn}, {**RESULT, **result}
    )
    back = digests(sent)
    assert back[0] == digests(PLAIN)[0]
    assert back[1] == answered(PLAIN, CALLED)
    reference = (*PLAIN, CALLED, Message("tool", (TextPart("21 degrees"),)))
    assert back[2] == digests(reference)[2]
    later = ollama(ASK, {"role": "assistant", **turn}, {**RESULT, **result}, SAYS, NEXT)
    assert digests(later)[3] == answered(reference, Message("assistant", (TextPart("It is warm."),)))


def test_the_same_is_recognised_on_every_wire() -> None:
    expected = digests((*PLAIN, CALLED, Message("tool", (TextPart("21 degrees"),))))
    calls = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": OPENAI_CALL}],
    }
    assert digests(openai(ASK, calls, {**RESULT, "tool_call_id": "c"})) == expected
    used = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "c", "name": "weather", "input": CALL["arguments"]}],
    }
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "21 degrees"}]}
    assert digests(anthropic(ASK, used, result)) == expected


@pytest.mark.parametrize(
    "back",
    [
        "It is warm.",
        "  It is warm.\n",
        "<think>\nlet me see</think>\n\nIt is warm.",
        "<thinking>let me see</thinking>It is warm.",
    ],
)
def test_an_answer_is_recognised_with_white_space_and_thinking_around_it(back: str) -> None:
    sent = ollama(ASK, {"role": "assistant", "content": back}, NEXT)
    assert digests(sent)[1] == answered(PLAIN, Message("assistant", (TextPart("\nIt is warm."),), thinking="x"))


def test_thinking_left_in_the_text_by_the_backend_is_no_part_of_it_either() -> None:
    kept = answered(PLAIN, Message("assistant", (TextPart("<think>hm</think>It is warm."),)))
    assert digests(ollama(ASK, SAYS, NEXT))[1] == kept


def test_text_and_image_in_two_messages_are_one_turn() -> None:
    one = read_conversation(ANA, ollama({**ASK, "images": [PNG]}, SAYS, NEXT))
    two = read_conversation(ANA, ollama(ASK, {"role": "user", "content": "", "images": [PNG]}, SAYS, NEXT))
    assert [turn.digest for turn in one.turns] == [turn.digest for turn in two.turns]
    parts = [
        {"type": "text", "text": ASK["content"]},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PNG}"},
    ]
    over_openai = digests(openai({"role": "user", "content": parts}, SAYS, NEXT))
    assert over_openai == [turn.digest for turn in one.turns]
    assert digests(ollama(ASK))[0] != one.turns[0].digest, "an image makes a difference"


def test_what_differs_has_another_fingerprint() -> None:
    seen = {
        digests(ollama(*messages))[-1]
        for messages in (
            [ASK],
            [ASK, SAYS, NEXT],
            [ASK, NEXT],
            [ASK, RESULT],
            [ASK, RESULT, RESULT],
            [ASK, {"role": "assistant", "tool_calls": [{"function": CALL}]}, RESULT],
            [ASK, {"role": "assistant", "tool_calls": [{"function": {**CALL, "name": "x"}}]}, RESULT],
            [ASK, {"role": "assistant", "tool_calls": [{"function": {**CALL, "arguments": {}}}]}, RESULT],
        )
    }
    assert len(seen) == 8
    assert digests(PLAIN, BOB) != digests(PLAIN)


def test_an_answer_that_shall_be_gone_on_with_is_no_turn_yet() -> None:
    conversation = read_conversation(ANA, ollama(ASK, {"role": "assistant", "content": "It is"}))
    assert [turn.role for turn in conversation.turns] == ["user"]
    assert conversation.known == 0
    assert not read_conversation(ANA, ollama({"role": "system", "content": "x"})).turns


def test_text_that_no_database_keeps_is_made_safe() -> None:
    assert keepable("a\x00b\ud800c") == "a\ufffdb\ufffdc"
    assert keepable("Zoë 🙂") == "Zoë 🙂"
    [kept] = kept_calls([ToolCall("\x00", "f\ud800", {"\x00": ["\ud800", float("nan"), float("inf"), 2**80, 1.0]})])
    assert kept == {"id": "\ufffd", "name": "f\ufffd", "arguments": {"\ufffd": ["\ufffd", None, None, str(2**80), 1]}}
    json.dumps(kept).encode()


WILD = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WILD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WILD, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(ToolCall, WILD, WILD, st.dictionaries(WILD, VALUES, max_size=3))
PARTS = st.builds(TextPart, WILD) | st.builds(ImagePart, WILD, WILD)
MESSAGES = st.builds(
    Message,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=st.lists(PARTS, max_size=3).map(tuple),
    thinking=WILD,
    tool_calls=st.lists(CALLS, max_size=2).map(tuple),
    tool_call_id=WILD,
    tool_name=WILD,
)


@given(st.lists(MESSAGES, max_size=6).map(tuple))
def test_nothing_a_client_can_say_fails_and_what_is_kept_reads_back_the_same(messages: tuple[Message, ...]) -> None:
    conversation = read_conversation(ANA, messages)
    for turn in conversation.turns:
        turn.text.encode()
        json.dumps(turn.calls, allow_nan=False).encode()
    no_images = tuple(m for m in messages if m.role != "system" and not m.images)
    turns = read_conversation(ANA, no_images).turns
    back = tuple(message_of(turn.role, turn.text, "", turn.calls) for turn in turns)
    assert digests(back)[-1:] == [turn.digest for turn in turns][-1:]


@given(st.lists(st.tuples(WILD, WILD, WILD), min_size=1, max_size=4))
def test_clients_shapes_of_one_conversation_look_alike(said: list[tuple[str, str, str]]) -> None:
    plain: list[Message] = []
    other: list[Message] = [Message("system", (TextPart("be kind"),))]
    for asked, thought, answered_with in said:
        plain += [Message("user", (TextPart(asked),)), Message("assistant", (TextPart(answered_with),))]
        other += [
            Message("user", (TextPart(f"{asked}\n"),)),
            Message("assistant", (TextPart(f" {answered_with}"),), thinking=thought),
        ]
    end = Message("user", (TextPart("end"),))
    assert digests((*plain, end))[-1] == digests((*other, end))[-1]
