"""Reads the error bodies of chat-completions servers; Mistral alone has seven shapes (`upstreams.md` A.9).

First hit wins: `error.message`; `error` if a string; `message` if a string; the list under `message.detail`, `detail`
or `message`, joined; `detail` if a string; else the status alone. Text that looks like a key is masked, because what
is extracted for a 400 may be shown to the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from backend.core.secrets import mask
from backend.wire.jsontext import UNREADABLE

_MAX_MESSAGE = 500
_TOO_LONG = (
    "context too long",
    "maximum context length",
    "input too large",
    "couldn't fit with truncation",
    "prompt is too long",
    "model_context_exceeded",
    "prompt_too_long",
    "exceed_context_size_error",
    "context_length_exceeded",
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """What an upstream's error body said."""

    message: str
    """One line, masked and cut to a readable length; "" when the body held nothing readable."""
    code: str
    type: str
    fields: frozenset[str]
    """Names of the body fields that were refused, from `loc`."""
    is_context_too_long: bool


def read_error(body: bytes) -> ErrorBody:
    """Read an error body of any known shape; never raises."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE:
        value = None
    if not isinstance(value, Mapping):
        return ErrorBody("", "", "", frozenset(), is_context_too_long=False)
    details = _details(value)
    message = _message(value, details)
    nested = value.get("error")
    source = nested if isinstance(nested, Mapping) else value
    code = source.get("code")
    lowered = body[:20_000].decode("utf-8", "replace").lower()
    return ErrorBody(
        message=clean(message),
        code="" if code is None else str(code),
        type=str(source.get("type") or ""),
        fields=frozenset(_field(item) for item in details if _field(item)),
        is_context_too_long=any(mark in lowered for mark in _TOO_LONG),
    )


def error_message(body: bytes) -> str:
    """Return the readable message of an error body, or a plain word when there is none."""
    return read_error(body).message or "no reason given"


def describe_status(status: int) -> str:
    """Return `status` with its reason phrase, for example `520` or `404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def clean(text: str) -> str:
    """Put text on one line, mask what looks like a credential, cut it to a readable length."""
    line = mask(" ".join(text.split()))
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}..."


def _message(value: Mapping[str, Any], details: list[Mapping[str, Any]]) -> str:
    error = value.get("error")
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        return str(error["message"])
    for candidate in (error, value.get("message")):
        if isinstance(candidate, str):
            return candidate
    if details:
        return "; ".join(f"{'.'.join(str(part) for part in _location(d))}: {d.get('msg', '')}" for d in details)
    detail = value.get("detail")
    return detail if isinstance(detail, str) else ""


def _details(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    message = value.get("message")
    inner = message.get("detail") if isinstance(message, Mapping) else message
    for candidate in (inner, value.get("detail")):
        if isinstance(candidate, list):
            return [item for item in candidate if isinstance(item, Mapping)]
    return []


def _location(detail: Mapping[str, Any]) -> list[object]:
    location = detail.get("loc")
    return list(location[1:]) if isinstance(location, list) else []


def _field(detail: Mapping[str, Any]) -> str:
    location = _location(detail)
    return location[0] if len(location) == 1 and isinstance(location[0], str) else ""
