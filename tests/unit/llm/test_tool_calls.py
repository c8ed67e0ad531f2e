"""Calls that come in pieces are put together; results find their call by id, then by name, then by order."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.llm.errors import ProviderProtocolError
from backend.llm.tool_calls import ToolCallAssembler, ToolTurn, link_tool_results, name_results, parse_arguments
from backend.llm.types import Message, TextPart, ToolCall

Piece = tuple[int | None, str | None, str | None, object]
PARIS, LYON = {"city": "Paris"}, {"city": "Lyon"}


def assemble(pieces: list[Piece]) -> list[ToolCall]:
    assembler = ToolCallAssembler()
    for piece in pieces:
        assembler.add(*piece)
    return assembler.flush()


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(0, "a", "f", '{"city": "Paris"}')], [ToolCall("a", "f", PARIS)], id="whole"),
        pytest.param([(0, "a", "f", PARIS)], [ToolCall("a", "f", PARIS)], id="whole-object"),
        pytest.param([(0, "a", "f", {})], [ToolCall("a", "f", {})], id="empty-object"),
        pytest.param([(0, "a", "f", None)], [ToolCall("a", "f", {})], id="no-arguments"),
        pytest.param(
            [(0, "a", "f", ""), (0, None, "", '{"city":'), (0, "null", None, ' "Paris"}')],
            [ToolCall("a", "f", PARIS)],
            id="pieces",
        ),
        pytest.param(
            [(0, "null", "f", "{"), (0, "late", None, "}"), (0, "later", "g", None)],
            [ToolCall("late", "f", {})],
            id="first-usable-id-and-name",
        ),
        pytest.param(
            [(0, "chatcmpl-tool-9f", "f", '{"city"'), (0, "toolcall0", "", ': "Paris"}')],
            [ToolCall("chatcmpl-tool-9f", "f", PARIS)],
            id="id-changes-in-mid-call",
        ),
        pytest.param(
            [(1, "b", "g", "{}"), (0, "a", "f", "{}")],
            [ToolCall("a", "f", {}), ToolCall("b", "g", {})],
            id="out-of-order",
        ),
        pytest.param(
            [(0, "a", "f", '{"city":'), (1, "b", "f", '{"city":'), (0, None, None, '"Paris"}'), (1, "", "", '"Lyon"}')],
            [ToolCall("a", "f", PARIS), ToolCall("b", "f", LYON)],
            id="interleaved",
        ),
        pytest.param(
            [(None, "a", "f", "{}"), (None, "b", "g", "{}")],
            [ToolCall("a", "f", {}), ToolCall("b", "g", {})],
            id="no-index-new-id",
        ),
        pytest.param(
            [(None, "a", "f", '{"city":'), (None, None, None, '"Paris"}'), (None, "a", None, "")],
            [ToolCall("a", "f", PARIS)],
            id="no-index-continues",
        ),
        pytest.param([(None, None, "f", "{"), (None, "null", None, "}")], [ToolCall("", "f", {})], id="no-index-no-id"),
        pytest.param([(5, "a", "f", "{}")], [ToolCall("a", "f", {})], id="index-with-a-hole"),
    ],
)
def test_pieces_become_whole_calls(pieces: list[Piece], calls: list[ToolCall]) -> None:
    assert assemble(pieces) == calls


def test_flushing_forgets() -> None:
    assembler = ToolCallAssembler()
    assembler.add(0, "a", "f", "{}")
    assembler.flush()
    assert assembler.flush() == []
    assembler.add(None, None, "g", None)
    assert assembler.flush() == [ToolCall("", "g", {})]


@given(st.lists(st.integers(0, 40), max_size=6))
def test_arguments_do_not_depend_on_where_they_were_cut(places: list[int]) -> None:
    text = '{"city": "Paris", "n": [1, 2], "s": "\\u00e9"}'
    edges = [0, *sorted(places), len(text)]
    pieces: list[Piece] = [(0, "a", "f", text[i:j]) for i, j in pairwise(edges)]
    assert assemble(pieces) == [ToolCall("a", "f", {"city": "Paris", "n": [1, 2], "s": "é"})]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        (" \n", {}),
        ("{}", {}),
        ('""', {}),
        ('" "', {}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "line\nbreak\ttab"}', {"a": "line\nbreak\ttab"}),
        ('{"b": 1, "a": 2}', {"b": 1, "a": 2}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
    ],
)
def test_readable_arguments_are_decoded(text: str, value: Mapping[str, Any]) -> None:
    parsed = parse_arguments(text)
    assert parsed == value
    assert list(parsed) == list(value)


@pytest.mark.parametrize(
    "text", ["{", "[1]", "1", "null", "true", '"abc"', '"[1]"', "{'a': 1}", '{"a": 1}{}', "[" * 99_999]
)
def test_unreadable_arguments_are_an_error_that_says_so(text: str) -> None:
    with pytest.raises(ProviderProtocolError, match="invalid tool call arguments"):
        parse_arguments(text)


def mint(original: str, message: int, call: int) -> str:
    return original or f"new-{message}-{call}"


def tool(text: str, call_id: str = "", name: str = "") -> Message:
    return Message("tool", (TextPart(text),), tool_call_id=call_id, tool_name=name)


def turn(*calls: tuple[str, str]) -> Message:
    return Message("assistant", tool_calls=tuple(ToolCall(call_id, name, {}) for call_id, name in calls))


USER, SAYS = Message("user", (TextPart("q"),)), Message("assistant", (TextPart("a"),))


def link(*messages: Message) -> list[Message | ToolTurn]:
    return list(link_tool_results(messages, mint))


def answers(*messages: Message) -> dict[str, str]:
    """Return what the first tool turn pairs: call id to the text of its result."""
    found = next(item for item in link(*messages) if isinstance(item, ToolTurn))
    return {result.tool_call_id: result.text for result in found.results}


WEATHER, CLOCK = ("", "get_weather"), ("", "get_time")


@pytest.mark.parametrize(
    ("calls", "results", "paired"),
    [
        pytest.param([WEATHER], [tool("sun")], {"new-0-0": "sun"}, id="ollama-python-content-only"),
        pytest.param(
            [WEATHER, CLOCK],
            [tool("noon", name="get_time"), tool("sun", name="get_weather")],
            {"new-0-0": "sun", "new-0-1": "noon"},
            id="ollama-python-tool-name",
        ),
        pytest.param([WEATHER, CLOCK], [tool("1"), tool("2")], {"new-0-0": "1", "new-0-1": "2"}, id="home-assistant"),
        pytest.param(
            [WEATHER, WEATHER],
            [tool("1", "call_a"), tool("2", "call_b")],
            {"new-0-0": "1", "new-0-1": "2"},
            id="litellm",
        ),
        pytest.param(
            [("uuid", "f"), ("uuid2", "g")], [tool("1"), tool("2")], {"uuid": "1", "uuid2": "2"}, id="langchain-js"
        ),
        pytest.param(
            [("c1", "f"), ("c2", "f")], [tool("2", "c2"), tool("1", "c1")], {"c1": "1", "c2": "2"}, id="open-webui"
        ),
        pytest.param(
            [("c1", "f"), ("c2", "g")],
            [tool("2", name="g"), tool("1", name="f")],
            {"c1": "1", "c2": "2"},
            id="ai-sdk-ollama",
        ),
        pytest.param(
            [("c1", "f"), ("c2", "g")],
            [tool("2", "c2", "f"), tool("1", "c1", "g")],
            {"c1": "1", "c2": "2"},
            id="cline-id-before-name",
        ),
        pytest.param(
            [("c1", "f"), ("c2", "g"), ("c3", "h")],
            [tool("x"), tool("g", name="g"), tool("f", "c1")],
            {"c1": "f", "c2": "g", "c3": "x"},
            id="id-then-name-then-order",
        ),
        pytest.param(
            [WEATHER, WEATHER],
            [tool("1", name="get_weather"), tool("2", name="get_weather")],
            {"new-0-0": "1", "new-0-1": "2"},
            id="same-name-in-order",
        ),
    ],
)
def test_results_find_their_call_as_clients_send_them(
    calls: list[tuple[str, str]], results: list[Message], paired: dict[str, str]
) -> None:
    assert answers(turn(*calls), *results) == paired


def test_a_result_keeps_its_name_or_takes_the_calls() -> None:
    found = link(turn(("c1", "f"), ("c2", "g")), tool("1"), tool("2", "c2", "own"))[0]
    assert isinstance(found, ToolTurn)
    assert [result.tool_name for result in found.results] == ["f", "own"]


def test_a_call_nobody_answered_is_named() -> None:
    found = link(turn(("c1", "f"), ("c2", "g")), tool("2", "c2"))[0]
    assert isinstance(found, ToolTurn)
    assert [call.call_id for call in found.unanswered] == ["c1"]


def test_a_result_too_many_becomes_a_plain_message_without_an_id() -> None:
    turns = link(turn(("c1", "f")), tool("1", "c1"), tool("2", "c1"))
    assert turns[1:] == [tool("2")]
    assert link(USER, tool("1", "gone")) == [USER, tool("1")]


def test_what_stood_between_results_follows_the_turn() -> None:
    first, *rest = link(USER, turn(("c1", "f"), ("c2", "g")), tool("1"), USER, tool("2"), SAYS)[1:]
    assert isinstance(first, ToolTurn)
    assert [result.text for result in first.results] == ["1", "2"]
    assert rest == [USER, SAYS]


def test_results_belong_to_the_turn_before_the_next_answer() -> None:
    first, second = link(turn(("c1", "f")), turn(("c2", "f")), tool("2", "c1"))
    assert isinstance(first, ToolTurn)
    assert isinstance(second, ToolTurn)
    assert first.results == ()
    assert [result.tool_call_id for result in second.results] == ["c2"]


def test_the_same_id_twice_in_one_turn_is_told_apart() -> None:
    found = link(turn(("c", "f"), ("c", "g")), tool("1", "c"), tool("2", "c"))[0]
    assert isinstance(found, ToolTurn)
    ids = [call.call_id for call in found.assistant.tool_calls]
    assert ids == ["c", "new-0-1"]
    assert {result.tool_call_id: result.text for result in found.results} == {"c": "1", "new-0-1": "2"}


def test_plain_conversations_pass_as_they_are() -> None:
    assert link(USER, SAYS, USER) == [USER, SAYS, USER]
    assert link() == []


def test_results_get_the_name_of_the_call_before_them_with_their_id() -> None:
    turns = [
        Message("tool", tool_call_id="a"),
        Message("assistant", tool_calls=(ToolCall("a", "f", {}), ToolCall("", "g", {}))),
        Message("tool", tool_call_id="a"),
        Message("tool", tool_call_id="a", tool_name="own"),
        Message("tool", tool_call_id="b"),
        Message("tool"),
    ]
    named = list(name_results(turns))
    assert [turn.tool_name for turn in named] == ["", "", "f", "own", "", ""]
    assert [turn.tool_call_id for turn in named] == [turn.tool_call_id for turn in turns]
