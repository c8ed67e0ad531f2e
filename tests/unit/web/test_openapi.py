import json
from collections import Counter

import pytest
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from backend.bootstrap.application import build_application
from backend.core.config import load_settings
from backend.web.lean_route import LeanRoute
from backend.web.openapi import DocumentedApplication, json_body


class Leaf(BaseModel):
    """What stands inside."""

    name: str = ""


class Tree(BaseModel):
    """What holds itself."""

    leaf: Leaf = Leaf()
    inside: list["Tree"] = Field(default_factory=list)


def test_a_bodys_schema_stands_in_one_piece() -> None:
    schema = json_body(Tree)["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["leaf"]["properties"]["name"]["type"] == "string"
    assert "$ref" not in json.dumps(schema)


def test_every_operation_has_an_id_of_its_own() -> None:
    document = build_application(load_settings(None)).openapi()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert {"get_api_tags", "head_api_tags", "post_api_chat"} <= set(ids)
    assert [name for name, count in Counter(ids).items() if count > 1] == []


@pytest.mark.filterwarnings("error")
def test_the_document_is_made_without_a_warning_and_once() -> None:
    application = build_application(load_settings(None))
    assert application.openapi() is application.openapi()


def test_a_lean_routes_path_parameters_are_declared_once() -> None:
    router = APIRouter(route_class=LeanRoute)

    @router.get("/models/{name:path}/{part}")  # noqa: FAST003 (read from the request)
    async def describe(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
        return Response()

    application = DocumentedApplication()
    application.include_router(router)

    @application.get("/plain/{name}")
    async def plain(name: str) -> str:
        return name

    paths = application.openapi()["paths"]
    assert [one["name"] for one in paths["/models/{name}/{part}"]["get"]["parameters"]] == ["name", "part"]
    assert [one["name"] for one in paths["/plain/{name}"]["get"]["parameters"]] == ["name"]
