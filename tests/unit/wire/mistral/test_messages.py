"""Any conversation an Ollama server takes becomes one Mistral accepts, and nothing the user said is lost."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backend.llm.types import ImagePart, Message, TextPart, ToolCall
from backend.wire.mistral.messages import MessageStyle, answer_prefix, mint_id, normalise, write_messages
from tests.unit.wire.mistral.oracle import Rules, complaints

IMAGE = ImagePart("iVBORw0KGgo=", "image/png")
IDS = ["", "null", "abcdefghi", "jklmnopqr", "call_ab12cd34", "é"]
NAMES = ["f", "get_weather", "a-b"]
ODD_NAMES = ["", "a b", "functions.f:0", "x" * 65, "é"]
STYLES = [
    MessageStyle(reasons=reasons, bridge_after_tool=bridge) for reasons in (False, True) for bridge in (True, False)
]

words = st.sampled_from(["", "hello", "Bonjour", " \n", "\u2028"])
parts = st.tuples(words.filter(bool).map(TextPart)) | st.just(())


def turns() -> st.SearchStrategy[Message]:
    """Return turns as clients send them: ids and names there or not, results that answer nothing, empty texts."""
    names = [*NAMES, *ODD_NAMES]
    pictures = st.lists(st.just(IMAGE), max_size=1).map(tuple)
    content = st.tuples(parts, pictures).map(lambda both: both[0] + both[1])
    calls = st.lists(st.builds(ToolCall, st.sampled_from(IDS), st.sampled_from(names), st.just({"a": 1})), max_size=3)
    return st.one_of(
        st.builds(Message, st.just("system"), content),
        st.builds(Message, st.just("user"), content),
        st.builds(Message, st.just("assistant"), content, st.sampled_from(["", "hm"]), calls.map(tuple)),
        st.builds(
            Message,
            st.just("tool"),
            content,
            tool_call_id=st.sampled_from(IDS),
            tool_name=st.sampled_from(["", *names]),
        ),
    )


conversations = st.lists(turns(), max_size=7)


def strictest(style: MessageStyle) -> list[Rules]:
    """Return the rules a model of this style may have; only newer ones reason."""
    return [Rules(version, style.bridge_after_tool) for version in ((11, 13) if style.reasons else (7, 11, 13))]


@pytest.mark.parametrize("style", STYLES, ids=str)
@settings(max_examples=250)
@given(messages=conversations)
def test_any_conversation_is_accepted(style: MessageStyle, messages: list[Message]) -> None:
    for rules in strictest(style):
        assert complaints(write_messages(messages, style), rules) == []


U, S = Message("user", (TextPart("q"),)), Message("system", (TextPart("s"),))
A = Message("assistant", (TextPart("a"),))
T = Message("tool", (TextPart("r"),))
CALLED = Message("assistant", tool_calls=(ToolCall("", "f", {}),))


def refusals(messages: list[Message], *, reasons: bool = False) -> list[str]:
    return complaints(write_messages(messages, MessageStyle(reasons=reasons)), Rules(13))


def test_an_assistant_turn_that_only_thought_is_accepted_by_a_model_that_does_not_reason() -> None:
    assert refusals([U, Message("assistant", thinking="hm"), U]) == []
    assert refusals([U, Message("assistant", thinking="hm")]) == []


@pytest.mark.parametrize("role", ["assistant", "system"])
def test_an_image_in_any_turn_is_accepted_and_kept(role: Any) -> None:
    messages = [Message(role, (TextPart("look"), IMAGE)), U]
    assert refusals(messages) == []
    assert IMAGE.data in str(write_messages(messages, MessageStyle(reasons=False)))


@pytest.mark.parametrize("messages", [[A], [CALLED], [CALLED, T]], ids=["words", "call", "answered-call"])
def test_a_conversation_that_starts_with_the_assistant_is_accepted(messages: list[Message]) -> None:
    assert refusals(messages) == []


@pytest.mark.parametrize(
    "messages", [[Message("system")], [Message("assistant")], [Message("user")], [Message("system"), Message("user")]]
)
def test_a_conversation_without_words_still_has_a_message(messages: list[Message]) -> None:
    assert refusals(messages) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_call_under_any_name_is_accepted(name: str) -> None:
    assert refusals([U, Message("assistant", tool_calls=(ToolCall("abcdefghi", name, {}),)), T]) == []


@given(conversations, st.sampled_from(STYLES))
def test_no_words_are_lost(messages: list[Message], style: MessageStyle) -> None:
    numbered = [
        Message(m.role, (TextPart(f"<{i}>"), *m.images), m.thinking, m.tool_calls, m.tool_call_id, m.tool_name)
        for i, m in enumerate(messages)
    ]
    written = write_messages(numbered, style)
    for i, message in enumerate(numbered):
        home = [w for w in written if f"<{i}>" in str(w["content"])]
        assert len(home) == 1
        if message.role == "user":
            assert home[0]["role"] == "user"
    images = sum(len(m.images) for m in numbered)
    assert str(written).count("image_url'") == images * 2


@given(conversations, st.sampled_from(STYLES))
def test_the_same_history_is_written_the_same_way(messages: list[Message], style: MessageStyle) -> None:
    assert write_messages(messages, style) == write_messages([*messages], style)


@given(conversations, st.sampled_from(STYLES))
def test_a_longer_history_begins_like_the_shorter_one(messages: list[Message], style: MessageStyle) -> None:
    assume(any(m.role == "user" and m.text for m in messages))
    if messages[-1].role == "tool" or messages[-1].tool_calls:
        return
    before = write_messages(messages, style)
    after = write_messages([*messages, Message("assistant", (TextPart("next"),)), U], style)
    shared = [{k: v for k, v in message.items() if k != "prefix"} for message in before]
    assert after[: len(before)] == shared


@pytest.mark.parametrize(
    ("messages", "prefix"),
    [
        ([U, A], "a"),
        ([A], "a"),
        ([U, A, S], "a"),
        ([U, A, Message("user")], "a"),
        ([U, A, Message("system")], "a"),
        ([U, Message("assistant", (TextPart("a"),), thinking="hm")], "a"),
        ([U, Message("assistant", thinking="hm")], ""),
        ([U, A, U], ""),
        ([U, CALLED], ""),
        ([], ""),
    ],
)
@pytest.mark.parametrize("reasons", [True, False])
def test_the_prefix_to_take_out_is_the_one_that_was_sent(messages: list[Message], prefix: str, reasons: bool) -> None:
    assert answer_prefix(write_messages(messages, MessageStyle(reasons=reasons))) == prefix


@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ([U, CALLED, T, U], "user assistant tool assistant user"),
        ([U, CALLED, T, A, U], "user assistant tool assistant user"),
        ([U, CALLED], "user assistant tool"),
        ([U, CALLED, U], "user assistant tool assistant user"),
        ([U, T], "user user"),
        ([S, U, A, S, U], "system user assistant user"),
        ([U, A, S, U], "system user assistant user"),
        ([U, S, U], "user system user"),
        ([S], "user"),
        ([S, S], "user user"),
        ([U, A], "user assistant"),
        ([U, Message("assistant"), U], "user user"),
        ([U, Message("user"), U], "user user"),
        ([U, CALLED, U, T], "user assistant tool assistant user"),
        ([], "user"),
        ([A], "user assistant"),
    ],
)
def test_the_order_is_mended(messages: list[Message], roles: str) -> None:
    assert [message.role for message in normalise(messages)] == roles.split()


def test_late_system_turns_join_the_leading_one() -> None:
    late = Message("system", (TextPart("late"),))
    assert normalise([S, U, A, late, U])[0].text == "s\n\nlate"


def test_without_a_bridge_the_user_follows_the_tool() -> None:
    assert [m.role for m in normalise([U, CALLED, T, U], bridge_after_tool=False)][-2:] == ["tool", "user"]


def test_an_unanswered_call_gets_a_result_that_says_so() -> None:
    assert write_messages([U, CALLED], MessageStyle(reasons=False))[-1] == {
        "role": "tool",
        "content": "(no result)",
        "tool_call_id": mint_id("", 1, 0),
        "name": "f",
    }


def test_images_of_a_tool_go_into_a_user_turn_after_it() -> None:
    written = write_messages([U, CALLED, Message("tool", (TextPart("r"), IMAGE))], MessageStyle(reasons=False))
    assert [message["role"] for message in written] == ["user", "assistant", "tool", "assistant", "user"]
    assert written[-1]["content"][0]["type"] == "image_url"


@given(st.text(max_size=12), st.integers(0, 50), st.integers(0, 50))
def test_a_minted_id_is_nine_letters_or_digits_and_stays(original: str, message: int, call: int) -> None:
    minted = mint_id(original, message, call)
    assert len(minted) == 9
    assert minted.isascii()
    assert minted.isalnum()
    assert minted == mint_id(original, message, call)
    if original:
        assert minted == mint_id(original, message + 1, call + 1) == mint_id(minted, 0, 0)
