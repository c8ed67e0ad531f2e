"""Reads JSON bodies as every inbound format needs them: liberal in form, bounded in size and depth."""

import json
from itertools import islice
from typing import Any, NoReturn

from backend.core.errors import InvalidRequest
from backend.wire.jsontext import replace_surrogates

MAX_MESSAGES = 2_000
MAX_TOOLS = 128
MAX_INPUTS = 2_048
MAX_IMAGES = 16
"""Images in one request."""
MAX_STOPS, MAX_STOP_LENGTH = 64, 1_024
MAX_CONTAINERS = 50_000
"""Lists and objects in one body: checking one takes microseconds, and nobody else is served meanwhile."""
TOO_DEEP = "the JSON is nested too deeply"

_MAX_ITEMS = {"messages": MAX_MESSAGES, "tools": MAX_TOOLS, "input": MAX_INPUTS, "context": 1_000_000}
_MAX_DEPTH = 100


def read_json(raw: bytes, *, when_empty: str = "missing request body") -> Any:
    """Decode the first JSON value of a body; what follows it is ignored, as Go's decoder does.

    Raises `InvalidRequest` for what cannot be read, in Ollama's words; `when_empty` is what an empty body is told.
    """
    text = raw.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not text:
        raise InvalidRequest(when_empty)
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(_syntax_message(text, error)) from None
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None
    except ValueError:
        raise InvalidRequest("the JSON holds a number that cannot be read") from None
    check_shape(value)
    return replace_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def check_shape(value: Any) -> None:
    """Refuse what is nested beyond what recursive code after us can bear, or holds masses of lists and objects."""
    level, found = [value] if isinstance(value, (dict, list)) else [], 0
    for _ in range(_MAX_DEPTH):
        found += len(level)
        if found > MAX_CONTAINERS:
            raise InvalidRequest(f"a request may hold {MAX_CONTAINERS} lists and objects at most; send less")
        if not level:
            return
        inside = (inner for item in level for inner in (item.values() if isinstance(item, dict) else item))
        level = list(islice((inner for inner in inside if isinstance(inner, (dict, list))), MAX_CONTAINERS + 1))
    if level:
        raise InvalidRequest(TOO_DEEP)


def check_sizes(value: Any) -> None:
    """Refuse lists that are too long before anything is built from them."""
    fields = {str(key).lower(): item for key, item in value.items()} if isinstance(value, dict) else {}
    for name, limit in _MAX_ITEMS.items():
        items = fields.get(name)
        if isinstance(items, list) and len(items) > limit:
            raise InvalidRequest(f"{name} may hold {limit} items at most; send fewer")
    messages = fields.get("messages")
    for message in messages if isinstance(messages, list) else ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        if isinstance(calls, list) and len(calls) > MAX_TOOLS:
            raise InvalidRequest(f"a message may hold {MAX_TOOLS} tool calls at most")


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _syntax_message(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text) or error.msg.startswith("Unterminated"):
        return "unexpected EOF"
    where = "object key string" if "property name" in error.msg else "value"
    return f"invalid character {text[error.pos]!r} looking for beginning of {where}"
