"""The OpenAPI document, which the tests read and nobody is served: what routes read when they read it themselves."""

import re
import warnings
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_DEFINITIONS = "#/$defs/"


class DocumentedApplication(FastAPI):
    """A FastAPI application whose document tells what lean routes do not declare.

    Each operation has an id of its own, GET and HEAD of one endpoint too, and the parameters its path names.
    """

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if self.openapi_schema is None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Duplicate Operation ID")
                document = super().openapi()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    operation["operationId"] = re.sub(r"\W+", "_", f"{method}{path}").strip("_")
                    _declare_path_parameters(path, operation)
        return super().openapi()


def _declare_path_parameters(path: str, operation: dict[str, Any]) -> None:
    declared = operation.setdefault("parameters", [])
    known = {parameter["name"] for parameter in declared if parameter["in"] == "path"}
    for name in re.findall(r"{(\w+)}", path):
        if name not in known:
            declared.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


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
