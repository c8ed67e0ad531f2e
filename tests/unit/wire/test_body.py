"""What every JSON body may be, whatever its format: bounded in depth and in the number of things it holds."""

import json
from typing import Any

import pytest

from backend.core.errors import GatewayError, InvalidRequest
from backend.wire.anthropic.schemas import MessagesBody
from backend.wire.anthropic.schemas import read_body as read_anthropic
from backend.wire.body import MAX_CONTAINERS, check_shape, read_json
from backend.wire.ollama.schemas import ChatBody as OllamaChatBody
from backend.wire.ollama.schemas import read_body as read_ollama
from backend.wire.openai.schemas import ChatBody
from backend.wire.openai.schemas import read_body as read_openai
from backend.wire.responses.schemas import read_body as read_responses

READERS = (
    lambda raw: read_ollama(raw, OllamaChatBody),
    lambda raw: read_openai(raw, ChatBody),
    lambda raw: read_anthropic(raw, MessagesBody),
    read_responses,
)
MASS: list[Any] = [{}] * MAX_CONTAINERS


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": MASS},
        {"messages": [{"role": "user", "content": MASS}]},
        {"input": [{"type": "reasoning", "summary": MASS}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": MASS}]},
        {"unknown": [[MASS[:1000]]] * 100},
    ],
)
def test_masses_are_refused_before_anything_is_built_from_them(read: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(GatewayError, match="lists and objects at most") as caught:
        read(json.dumps({"model": "m", **fields}).encode())
    assert caught.value.status == 400


def test_what_is_just_within_the_bounds_passes() -> None:
    value = {"a": [{}] * (MAX_CONTAINERS - 2)}
    assert read_json(json.dumps(value).encode()) == value
    with pytest.raises(InvalidRequest):
        check_shape([value])


def test_plain_values_are_not_counted() -> None:
    check_shape({"a": list(range(MAX_CONTAINERS * 2))})
    check_shape("text")
