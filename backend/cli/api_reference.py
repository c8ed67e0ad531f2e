"""Writes `docs/api.md`: every route under `/api/v1`, who may call it, what it takes; see `backend.cli.reference`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute

from backend.bootstrap.application import ROUTERS, build_application
from backend.core.config import load_settings
from backend.features.auth.deps import EVERYBODY
from backend.features.auth.policies import Requires
from backend.web.side_api import SIDE_API

_INTRO = """# The API beside the wire formats

Generated from the routes by `make docs`; change it there. How it is used: [a team behind one gateway](team.md),
[use and quotas](usage.md), [history](history.md).

A credential goes into `Authorization: Bearer <access token or key>`. Bodies and replies are JSON; a body comes with
`content-type: application/json`, and a field it does not have is refused. An error is `{"detail": "<a sentence>"}`;
a 422 may hold `"errors": [{"field", "message"}]` beside it, one for each field. Lists take `skip` (0) and `limit` (50,
at most 100) and reply `{"items", "total", "skip", "limit"}`; a parameter a list does not have is refused.
"""
_FORMATS = {"uuid": "id", "email": "email address", "date-time": "time", "password": "text"}
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
}
_BOUNDS = (
    ("minLength", "maxLength", "characters"),
    ("minimum", "maximum", ""),
    ("minItems", "maxItems", "entries"),
    ("minProperties", "maxProperties", "entries"),
)
_PAGING = frozenset({"skip", "limit"})
_OK, _REDIRECTED = 200, 400

Schema = Mapping[str, Any]


def api_page() -> str:
    """Return `docs/api.md`."""
    document = build_application(load_settings(None)).openapi()
    lines, shown = [_INTRO], ""
    for route in _routes():
        for method in sorted(route.methods or ()):
            operation = document["paths"][route.path][method.lower()]
            if (title := str(operation["tags"][0])) != shown:
                shown = title
                lines += [f"## {title.capitalize()}", ""]
            lines += _section(f"{method} {route.path}", _policy(route), operation, document["components"]["schemas"])
    return "\n".join(lines).rstrip() + "\n"


def _routes() -> Iterable[APIRoute]:
    """Return the side API's routes, those of one title together, in the order of the code."""
    found = [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute) and r.path.startswith(SIDE_API)]
    titles = list(dict.fromkeys(str(route.tags[0]) for route in found))
    return sorted(found, key=lambda route: titles.index(str(route.tags[0])))


def _policy(route: APIRoute) -> str:
    policy = route.dependencies[0].dependency
    if isinstance(policy, Requires):
        return f"Needs `{policy.permission}`."
    return "For everybody." if policy is EVERYBODY.dependency else "Needs an account."


def _section(name: str, policy: str, operation: Schema, schemas: Mapping[str, Schema]) -> Iterator[str]:
    status = next(s for s in operation["responses"] if _OK <= int(s) < _REDIRECTED)
    yield from (f"### `{name}`", "", f"{_line(operation['description'])} {policy} Replies {status}.", "")
    rows = [_parameter(p, schemas) for p in operation["parameters"] if p["in"] == "query" and p["name"] not in _PAGING]
    if "requestBody" in operation:
        [content] = operation["requestBody"]["content"].values()
        body = content["schema"]
        model = schemas[_name(body)] if "$ref" in body else body
        rows += _fields(model, schemas, shows_defaults=not name.startswith("PATCH"))
    if rows:
        yield from ("| field | type | default | meaning |", "|---|---|---|---|", *rows, "")


def _parameter(parameter: Schema, schemas: Mapping[str, Schema]) -> str:
    told = _type(parameter["schema"], schemas)
    return f"| `?{parameter['name']}=` | {told} | | {parameter.get('description', '')} |"


def _fields(model: Schema, schemas: Mapping[str, Schema], *, shows_defaults: bool) -> Iterator[str]:
    for name, field in model["properties"].items():
        default = ""
        if shows_defaults:
            default = "required" if name in model.get("required", ()) else _default(field.get("default"))
        yield f"| `{name}` | {_type(field, schemas)} | {default} | {_meaning(field)} |"


def _default(value: Any) -> str:
    if value in (None, ""):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _meaning(field: Schema) -> str:
    inner = [choice.get("description", "") for choice in field.get("anyOf", ())]
    return _line(" ".join(text for text in (field.get("description", ""), *inner) if text))


def _type(field: Schema, schemas: Mapping[str, Schema]) -> str:
    if "anyOf" in field:
        return " or ".join("null" if c.get("type") == "null" else _type(c, schemas) for c in field["anyOf"])
    if "$ref" in field:
        model = schemas[_name(field)]
        if "enum" in model:
            return f"a {_name(field).lower()}"
        inner = ", ".join(f"`{name}`: {_type(part, schemas)}" for name, part in model["properties"].items())
        return f"object of {inner}"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'], schemas)}{_bounds(field)}"
    kind = _FORMATS.get(field.get("format", "")) or _TYPES[field["type"]]
    pattern = f" as `{field['pattern']}`" if "pattern" in field else ""
    return f"{kind}{pattern}{_bounds(field)}"


def _bounds(field: Schema) -> str:
    for low, high, unit in _BOUNDS:
        if high in field:
            least = f"{field[low]:g} to " if low in field else "at most "
            return f" ({least}{field[high]:.0f} {unit}".rstrip() + ")"
    return ""


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
