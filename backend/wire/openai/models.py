"""Reads the model lists of chat-completions servers (`GET /v1/models`)."""

from typing import Any

import msgspec

from backend.llm.errors import ProviderProtocolError
from backend.wire.jsontext import UNREADABLE


class _List(msgspec.Struct):
    data: list[dict[str, Any]] | None = None


_decode = msgspec.json.Decoder(_List).decode
_MAX_MODELS = 5_000


def read_cards(body: bytes, backend: str) -> list[dict[str, Any]]:
    """Return the cards that have an id, in the upstream's order, each id once."""
    try:
        listed = _decode(body).data or []
    except UNREADABLE as error:
        raise ProviderProtocolError(f"backend {backend!r} sent an unreadable model list") from error
    cards: dict[str, dict[str, Any]] = {}
    for card in listed[:_MAX_MODELS]:
        if isinstance(card.get("id"), str) and card["id"]:
            cards.setdefault(card["id"], card)
    return list(cards.values())


def card_number(card: dict[str, Any], *path: str) -> int | None:
    """Return a positive whole number found under `path`, or None."""
    value: Any = card
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and value > 0 else None
