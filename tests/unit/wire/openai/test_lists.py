"""Embeddings come in the order of the texts, and model lists hold what can be asked for."""

import json
from typing import Any

import pytest

from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderProtocolError
from backend.wire.mistral.models import read_models
from backend.wire.openai.embeddings import read_embeddings
from backend.wire.openai.models import card_number, read_cards

DEEP = b'{"x":' + b"[" * 99_999


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_vectors_are_sorted_by_index() -> None:
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1, 0.5]}]
    found = read_embeddings(dump({"data": data, "usage": {"prompt_tokens": 11}}), "up", 2)
    assert found.vectors == [[1.0, 0.5], [2.0]]
    assert found.prompt_tokens == 11


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": -4}])
def test_missing_usage_counts_nothing(usage: Any) -> None:
    assert read_embeddings(dump({"data": [{"embedding": [1.0]}], "usage": usage}), "up", 1).prompt_tokens == 0


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff", DEEP, b'{"data":[{"embedding":"AAAA"}]}', b'{"data":[{"embedding":[null]}]}']
)
def test_embeddings_that_cannot_be_read_are_an_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="'up' sent unreadable embeddings"):
        read_embeddings(body, "up", 1)


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_vectors_is_an_error(count: int) -> None:
    body = dump({"data": [{"embedding": [1.0], "index": index} for index in range(count)]})
    with pytest.raises(ProviderProtocolError, match=f"sent {count} embeddings for 1 texts"):
        read_embeddings(body, "up", 1)


def test_cards_are_read_once_each_in_order() -> None:
    cards = [{"id": "b"}, {"id": "a", "x": 1}, {"id": "b", "again": True}, {"id": ""}, {"id": 5}, {}]
    assert read_cards(dump({"data": cards}), "up") == [{"id": "b"}, {"id": "a", "x": 1}]


@pytest.mark.parametrize("body", [b"{}", b'{"data":null}', b'{"data":[]}'])
def test_an_empty_list_is_no_error(body: bytes) -> None:
    assert read_cards(body, "up") == []


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", DEEP, b"<html>", b'{"data":[1]}'])
def test_a_list_that_cannot_be_read_is_an_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="'up' sent an unreadable model list"):
        read_cards(body, "up")


@pytest.mark.parametrize(
    ("card", "number"),
    [
        ({"a": {"b": 5}}, 5),
        ({"a": {"b": 0}}, None),
        ({"a": {"b": True}}, None),
        ({"a": {"b": 1.5}}, None),
        ({"a": 1}, None),
        ({}, None),
    ],
)
def test_a_number_of_a_card_is_positive_or_none(card: dict[str, Any], number: int | None) -> None:
    assert card_number(card, "a", "b") == number


ALL = {
    "completion_chat": True,
    "function_calling": True,
    "vision": True,
    "reasoning": True,
    "completion_fim": True,
    "audio": True,
}


def card(model_id: str, capabilities: Any, **more: Any) -> dict[str, Any]:
    return {"id": model_id, "capabilities": capabilities, **more}


def mistral(*cards: dict[str, Any]) -> dict[str, Any]:
    return {model.model_id: model for model in read_models(dump({"data": cards}), "up")}


def test_mistrals_flags_are_told_in_ollamas_words() -> None:
    models = mistral(card("m", ALL, max_context_length=262144, default_model_temperature=0.3, description="d"))
    assert models["m"].capabilities == frozenset(Capability) - {Capability.EMBEDDING}
    assert models["m"].is_listed
    assert (models["m"].context_length, models["m"].default_temperature, models["m"].description) == (262144, 0.3, "d")


@pytest.mark.parametrize(
    ("model_id", "length"), [("mistral-embed", 1024), ("codestral-embed-2505", 1536), ("new-embed", None)]
)
def test_an_embedding_model_is_known_by_its_id(model_id: str, length: int | None) -> None:
    model = mistral(card(model_id, {"completion_chat": False}, max_context_length=32768))[model_id]
    assert model.capabilities == {Capability.EMBEDDING}
    assert (model.context_length, model.embedding_length) == (8192, length)


def test_models_that_neither_chat_nor_embed_are_not_listed() -> None:
    chat = card("m", {"completion_chat": True, "vision": False}, default_model_temperature=None)
    others = [card("ocr", {"ocr": True}), card("none", None), card("old", ALL, archived=True)]
    models = mistral(chat, *others)
    assert set(models) == {"m"}
    assert models["m"].capabilities == {Capability.COMPLETION}
    assert (models["m"].context_length, models["m"].default_temperature, models["m"].description) == (None, None, "")
