"""The side API's document is complete and shows no secret; its bodies name nothing that is the server's to say."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from backend.bootstrap.application import build_application
from backend.bootstrap.tables import METADATA
from backend.cli.api_reference import api_page
from backend.core.config import load_settings
from backend.web.side_api import Body
from tests.architecture.test_policies import label, labels, router_routes

DOCUMENT: dict[str, Any] = build_application(load_settings(None)).openapi()
ROUTES = [route for route in router_routes() if route.path.startswith("/api/v1/")]
COLUMNS = frozenset(column.name for table in METADATA.tables.values() for column in table.columns)
SECRET = frozenset(name for name in COLUMNS if re.search(r"hash|password|token_version|subject|secret", name))
SHOWN_ONCE = frozenset({"access_token", "refresh_token", "key"})
"""Secrets that a reply is for: they are made for it and kept as hashes."""
GIVES_SECRETS = frozenset({"TokenReply", "KeyMade"})
GIVES_TWO = {
    "POST /api/v1/documents/upload",
    "POST /api/v1/documents/{document_id}/versions",
    "GET /api/v1/documents/{document_id}/content",
}
"""What is there already has another status than what is new; a file comes from here or from its store."""
GIVES_OTHER = {
    "GET /api/v1/documents/{document_id}/content": "application/octet-stream",
    "GET /api/v1/documents/{document_id}/events": "text/event-stream",
}
"""Replies that are not JSON."""
SERVERS_OWN = COLUMNS & frozenset(
    {
        *("id", "owner_id", "user_id", "role_id", "session_id", "agent_id", "created_at", "updated_at", "at"),
        *("actor", "action", "object_id", "object_type", "request_id", "details", "is_built_in", "last_login_at"),
        *("last_used_at", "expires_at", "revoked_at", "used_at", "oidc_subject", "token_version", "hint", "blob"),
        *(name for name in COLUMNS if name.endswith("_hash")),
    }
)
"""Columns that no caller may fill: ids, times, whose it is, what is kept of secrets."""


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        if path.startswith("/api/v1/"):
            yield from ((f"{method.upper()} {path}", operation) for method, operation in methods.items())


OPERATIONS = dict(operations())


def bodies(route: APIRoute) -> list[type[BaseModel]]:
    return [parameter.field_info.annotation for parameter in route.dependant.body_params]  # type: ignore[misc]


BODIES = [(label(route), body) for route in ROUTES for body in bodies(route)]


def test_the_document_holds_every_route() -> None:
    assert OPERATIONS.keys() == {name for route in ROUTES for name in labels(route)}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_route_says_what_it_does_what_it_gives_and_how_it_fails(name: str) -> None:
    operation, (method, path) = OPERATIONS[name], name.split()
    assert operation["description"].endswith(".")
    told = {int(status) for status in operation["responses"]}
    expected = {400, 401, 403, 429, 503}
    expected |= {404, 422} if "{" in path else set()
    expected |= {409} if method != "GET" else set()
    expected |= {413, 422} if "requestBody" in operation else set()
    assert expected <= told
    assert len([status for status in told if status < 400]) == (2 if name in GIVES_TWO else 1)
    for status, reply in operation["responses"].items():
        if status not in {"204", "302"}:
            media_type = GIVES_OTHER.get(name, "application/json") if status[0] == "2" else "application/json"
            schema = reply["content"][media_type]["schema"]
            assert schema, status
            assert status[0] == "2" or schema["$ref"].endswith("/Invalid" if status == "422" else "/Failure")


def test_the_written_reference_has_a_section_for_every_route() -> None:
    sections = {line.strip("#` ") for line in api_page().split("\n") if line.startswith("### ")}
    assert sections == OPERATIONS.keys()


def test_lists_come_in_pieces() -> None:
    for name, operation in OPERATIONS.items():
        shown = next(reply for status, reply in operation["responses"].items() if status[0] in "23")
        schema = shown.get("content", {}).get("application/json", {}).get("schema", {})
        parameters = {parameter["name"] for parameter in operation.get("parameters", [])}
        named = DOCUMENT["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
        is_list = {"items", "total", "skip", "limit"} <= named.get("properties", {}).keys()
        assert is_list == ({"skip", "limit"} <= parameters), name
        assert schema.get("type") != "array", name


def test_administration_lists_all_there_is_to_administer() -> None:
    things = ("users", "roles", "keys", "public-keys", "agents", "sessions", "backends", "audit", "usage")
    assert {f"GET /api/v1/admin/{thing}" for thing in things} <= OPERATIONS.keys()


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def properties(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from part.get("properties", {})
        for value in part.values():
            yield from properties(value)
    elif isinstance(part, list):
        for value in part:
            yield from properties(value)


def reachable(names: set[str]) -> set[str]:
    schemas, found = DOCUMENT["components"]["schemas"], set[str]()
    while names:
        found |= names
        names = {name for known in names for name in references(schemas[known])} - found
    return found


def test_no_reply_shows_a_secret_however_deep() -> None:
    assert {"password_hash", "token_version", "oidc_subject", "token_hash", "key_hash"} <= SECRET
    replies = [operation["responses"] for operation in OPERATIONS.values()]
    names = reachable(set(references(replies)))
    assert {"UserRead", "SessionRead", "AgentRead", "RoleOfUser"} <= names
    for name in names:
        shown = set(properties(DOCUMENT["components"]["schemas"][name]))
        assert shown.isdisjoint(SECRET), name
        assert name in GIVES_SECRETS or shown.isdisjoint(SHOWN_ONCE), name


@pytest.mark.parametrize(("route", "body"), BODIES, ids=[f"{route} {body.__name__}" for route, body in BODIES])
def test_a_body_takes_its_own_fields_and_no_column_of_the_servers(route: str, body: type[BaseModel]) -> None:
    assert issubclass(body, Body), route
    assert body.model_fields.keys().isdisjoint(SERVERS_OWN)
    for column in sorted(COLUMNS - body.model_fields.keys()):
        with pytest.raises(ValidationError) as caught:
            body.model_validate({column: "x"})
        assert ("extra_forbidden", (column,)) in {(error["type"], error["loc"]) for error in caught.value.errors()}
