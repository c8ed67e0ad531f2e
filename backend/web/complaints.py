"""What is wrong with a request under `/api/v1`, in one plain sentence for each field.

Nothing that was sent is repeated but the names of unknown fields and ids in the path, masked and cut short: a body may
hold a secret.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.core.secrets import mask

_MAX_SHOWN = 100
_PLACES = frozenset({"body", "path", "query", "header", "cookie"})
_NO_TYPE = "send the body as JSON: add -H 'content-type: application/json'"
_OWN = "Value error, "
_PREDICATES = ("must ", "is ", "has ", "needs ", "may ")
"""How a check of ours begins that leaves its subject out; any other is a whole sentence."""

Said = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One field, and what is wrong with it."""

    field: str
    """Its path with dots and indices, for example `networks[0]`; "" for the body as a whole."""
    message: str


def complaints(errors: Sequence[Mapping[str, Any]], body: object = None) -> list[Complaint]:
    """Return what pydantic and FastAPI found, in words.

    Args:
        errors: as `errors()` of their exceptions lists them.
        body: the text of the body, where it was no JSON.
    """
    return [_complaint(error, body) for error in errors]


def _complaint(error: Mapping[str, Any], body: object) -> Complaint:
    kind, loc = str(error["type"]), list(error["loc"])
    place = str(loc.pop(0)) if loc and loc[0] in _PLACES else "body"
    if kind == "json_invalid":
        return Complaint("", _not_json(error, loc, body))
    field = _field(loc)
    if kind == "extra_forbidden":
        what = "parameter" if place == "query" else "field"
        return Complaint(field, f"there is no {what} {field!r} here")
    if not field and kind in {"missing", "model_type", "model_attributes_type", "dict_type"}:
        is_unread = isinstance(error.get("input"), bytes)  # since nothing said that it is JSON
        return Complaint("", _NO_TYPE if is_unread else "send a body that is a JSON object, such as {}")
    if kind == "uuid_parsing" and place == "path":
        return Complaint(field, f"{_shown(error['input'])!r} is not an id")
    if kind in {"value_error", "assertion_error"}:
        return Complaint(field, _of_ours(field, str(error["msg"])))
    say = _SENTENCES.get(kind)
    told = say(error.get("ctx", {})) if say else str(error["msg"]).replace("Input should ", "must ", 1)
    return Complaint(field, f"{field or 'body'!r} {told}")


def _not_json(error: Mapping[str, Any], loc: Sequence[Any], body: object) -> str:
    """Say where JSON goes wrong; the position alone says little of a body with many lines."""
    position = loc[0] if loc and isinstance(loc[0], int) else 0
    before = body[:position] if isinstance(body, str) else ""
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    why = str(error.get("ctx", {}).get("error", "")).rstrip(":")
    return f"the body is not JSON: {why[:1].lower()}{why[1:]} in line {line}, column {column}"


def _of_ours(field: str, message: str) -> str:
    text = message.removeprefix(_OWN)
    if text.startswith("value is not a valid email address"):
        return f"{field!r} is not an email address such as ada@example.org"
    return f"{field or 'body'!r} {text}" if text.startswith(_PREDICATES) else text


def _field(loc: Sequence[str | int]) -> str:
    named = "".join(f"[{step}]" if isinstance(step, int) else f".{_shown(step)}" for step in loc)
    return named.removeprefix(".")[:_MAX_SHOWN]


def _shown(text: object) -> str:
    return mask(str(text))[:_MAX_SHOWN]


def _plain(text: str) -> Said:
    return lambda _limits: text


def _limit(text: str) -> Said:
    return lambda limits: text.format(**limits)


_SENTENCES: Mapping[str, Said] = {
    "missing": _plain("is missing"),
    **dict.fromkeys(("string_type", "string_sub_type"), _plain("must be a text")),
    "string_unicode": _plain("must hold whole characters only"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _plain("must be a whole number")
    ),
    **dict.fromkeys(("float_type", "float_parsing"), _plain("must be a number")),
    "finite_number": _plain("must be a finite number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), _plain("must be true or false")),
    **dict.fromkeys(("list_type", "set_type", "frozen_set_type", "tuple_type"), _plain("must be a list")),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _plain("must be an object")),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), _plain("must be an id such as /api/v1 shows them")),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid"),
        _plain("must be a time such as 2026-01-31T12:00:00Z"),
    ),
    **dict.fromkeys(("enum", "literal_error"), _limit("must be one of {expected}")),
    "string_too_short": _limit("must have {min_length} characters at least"),
    "string_too_long": _limit("may have {max_length} characters at most"),
    "too_short": _limit("must have {min_length} entries at least"),
    "too_long": _limit("may have {max_length} entries at most"),
    "greater_than": _limit("must be more than {gt}"),
    "greater_than_equal": _limit("must be {ge} or more"),
    "less_than": _limit("must be less than {lt}"),
    "less_than_equal": _limit("must be {le} or less"),
}
"""What follows a field's name, by pydantic's type of error."""
