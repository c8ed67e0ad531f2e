"""Tells the OpenAPI document what a route reads when the route reads its body itself."""

from typing import Any

from pydantic import BaseModel

_DEFINITIONS = "#/$defs/"


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return what `openapi_extra` of a route wants to hear about a JSON body; the schema stands in one piece."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _inline(schema, definitions, ())}},
        }
    }


def _inline(schema: Any, definitions: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Put definitions where they are named: their own place does not exist in the document; recursion ends open."""
    if isinstance(schema, list):
        return [_inline(item, definitions, path) for item in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix(_DEFINITIONS)
    if name in definitions:
        return {} if name in path else _inline(definitions[name], definitions, (*path, name))
    return {key: _inline(value, definitions, path) for key, value in schema.items()}
