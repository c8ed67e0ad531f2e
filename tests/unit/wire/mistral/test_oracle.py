"""The oracle says what the validator was seen to say."""

from typing import Any

import pytest

from tests.unit.wire.mistral.oracle import Rules, complaints

IDS = ("abcdefghi", "jklmnopqr")
U: dict[str, Any] = {"role": "user", "content": "x"}
S: dict[str, Any] = {"role": "system", "content": "x"}
A: dict[str, Any] = {"role": "assistant", "content": "x"}
P = {**A, "prefix": True}


def called(*ids: str, name: str = "f") -> dict[str, Any]:
    calls = [{"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}} for call_id in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(call_id: str = IDS[0], content: object = "ok") -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


IMAGE = [{"type": "image_url", "image_url": "data:"}]
THOUGHT = [{"type": "thinking", "thinking": []}]
FINE = [
    [U, P],
    [U, S],
    [S],
    [U, A, A, U],
    [{**U, "content": ""}],
    [U, called(IDS[0]), result()],
    [U, called(*IDS), result(IDS[1]), result(), A, U],
]
REFUSED = [
    ([], "at least one message"),
    ([A], "must start with"),
    ([P], "must start with"),
    ([U, A], "Expected last role"),
    ([U, P, U], "must be last"),
    ([U, A, S, U], "Unexpected role 'system' after role 'assistant'"),
    ([U, result()], "Unexpected role 'tool' after role 'user'"),
    ([U, called(*IDS), result()], "Not the same number"),
    ([U, called(IDS[0]), U], "Not the same number"),
    ([U, A, result()], "Unexpected tool call id"),
    ([U, called(IDS[0]), result(), result()], "Duplicate tool call id in tool results"),
    ([U, called(IDS[0], IDS[0]), result(), result()], "in assistant message"),
    ([U, called("null"), result("null")], "has to be defined"),
    ([U, called(IDS[0], name="a b"), result()], "Function name"),
    ([U, called(IDS[0]), result(content=IMAGE)], "chunk types in tool message"),
    ([{**S, "content": IMAGE}, U], "chunk types in system message"),
    ([{**S, "content": None}, U], "System prompt must have content"),
    ([{**U, "name": "bob"}], "Extra inputs"),
]


@pytest.mark.parametrize("messages", FINE)
@pytest.mark.parametrize("version", [7, 11, 13])
def test_what_was_accepted_passes(messages: list[dict[str, Any]], version: int) -> None:
    assert complaints(messages, Rules(version)) == []


@pytest.mark.parametrize(("messages", "text"), REFUSED)
def test_what_was_refused_fails(messages: list[dict[str, Any]], text: str) -> None:
    assert any(text in complaint for complaint in complaints(messages, Rules(13)))


def test_generations_differ_as_they_were_seen_to() -> None:
    foreign = [U, called("call_ab12cd34"), result("call_ab12cd34")]
    assert complaints(foreign, Rules(13)) == []
    assert complaints(foreign, Rules(11))
    thinking = [U, {**A, "content": THOUGHT}, U]
    assert complaints(thinking, Rules(11)) == []
    assert complaints(thinking, Rules(7))
    after = [U, called(IDS[0]), result(), U]
    assert complaints(after, Rules(user_after_tool_refused=False)) == []
    assert complaints(after, Rules(user_after_tool_refused=True)) == ["Unexpected role 'user' after role 'tool'"]
    empty = [U, {**A, "content": ""}, U]
    assert complaints(empty, Rules(empty_assistant_refused=False)) == []
    assert complaints(empty, Rules())
