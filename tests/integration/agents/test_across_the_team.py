"""Who may see, use, read and change whose agents: the same verdict on every wire, and nothing told about the rest."""

import json
import uuid
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from backend.features.agents import index
from tests.architecture.test_policies import policies, router_routes
from tests.clients.scripts import CHAT, EMBEDDINGS, answer, embeddings
from tests.fakes.team import ANA, BOB, CALLERS, LAWYERS, WRITERS
from tests.fixtures.team_gateway import TeamGateway

BASE = "mistral-small-latest"
SECRET = "the secret prompt"  # noqa: S105 (a prompt)
HI = [{"role": "user", "content": "hi"}]
AGENTS: dict[str, dict[str, Any]] = {
    "private": {},
    "public": {"is_public": True},
    "shared": {"role_ids": [str(LAWYERS)]},
}
"""Ana's, who is a lawyer."""
USERS = {"private": {"ana", "ada"}, "public": set(CALLERS), "shared": {"ana", "bob", "ada"}}
READERS = {"ana", "ada"}
"""Who reads Ana's prompts: herself, and whoever manages agents."""


def draft(name: str = "legal", **fields: Any) -> dict[str, Any]:
    return {"name": name, "model": BASE, "system_prompt": SECRET, **fields}


async def make(gateway: TeamGateway, caller: str = "ana", **fields: Any) -> dict[str, Any]:
    async with gateway.http(caller) as http:
        reply = await http.post("/api/v1/agents", json=draft(**fields))
        assert reply.status_code == 201, reply.text
        made: dict[str, Any] = reply.json()
        return made


ASKING = {
    "/api/chat": {"messages": HI, "stream": False},
    "/api/generate": {"prompt": "hi", "stream": False},
    "/api/embed": {"input": "hi"},
    "/api/embeddings": {"prompt": "hi"},
    "/api/show": {},
    "/v1/chat/completions": {"messages": HI},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/chat/completions": {"messages": HI},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": HI},
}
NOT_ASKING = {
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/blobs/{digest}"),
    *("/api/me", "/api/signout", "/api/experimental/web_search", "/api/experimental/web_fetch"),
    "/v1/audio/transcriptions",
}
"""Reviewed: `tests/clients` tries the verbs, no agent stands upon a speech model, the rest names no model."""
CARRIERS: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "bearer": lambda key: ("", {"authorization": f"Bearer {key}"}),
    "x-api-key": lambda key: ("", {"x-api-key": key}),
    "path": lambda key: (f"/k/{key}", {"authorization": "Bearer ollama"}),
    "basic": lambda key: ("", {"authorization": f"Basic {b64encode(f'anybody:{key}'.encode()).decode()}"}),
}


async def listed(http: httpx.AsyncClient) -> set[str]:
    """Return the names a caller sees, after making sure that all listings agree."""
    tags = {entry["name"] for entry in (await http.get("/api/tags")).json()["models"]}
    assert tags == {entry["id"] for entry in (await http.get("/v1/models")).json()["data"]}
    return tags


def told(reply: httpx.Response) -> str:
    """Return a reply's text without the id of its request."""
    return reply.text.replace(reply.headers["x-request-id"], "<request>")


def test_every_route_that_takes_a_model_is_asked() -> None:
    routes = [route for route in router_routes() if policies(route) == ["callers"] and "POST" in (route.methods or ())]
    assert {route.path for route in routes} == ASKING.keys() | NOT_ASKING


@pytest.mark.parametrize("kind", AGENTS)
async def test_every_wire_has_the_same_verdict(team_gateway: TeamGateway, kind: str) -> None:
    await make(team_gateway, name=kind, **AGENTS[kind])
    team_gateway.upstream.script(CHAT, [answer("yes")])
    team_gateway.upstream.script(EMBEDDINGS, [embeddings([1.0, 0.0])])
    name = f"ana/{kind}"
    for caller in CALLERS:
        may = caller in USERS[kind]
        async with team_gateway.http(caller) as http:
            assert (f"{name}:latest" in await listed(http)) == may
            for path, body in ASKING.items():
                reply = await http.post(path, json={"model": name, **body})
                assert reply.status_code == (200 if may else 404), (caller, path, reply.text)
                assert (SECRET in reply.text) == (may and path == "/api/show" and caller in READERS)
                unknown = await http.post(path, json={"model": "ana/nobody", **body})
                if not may:
                    assert told(reply).replace(kind, "nobody") == told(unknown)
            running = {entry["name"] for entry in (await http.get("/api/ps")).json()["models"]}
            assert (f"{name}:latest" in running) == may


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_verdict_does_not_depend_on_the_carrier(team_gateway: TeamGateway, carrier: str) -> None:
    await make(team_gateway, name="shared", **AGENTS["shared"])
    team_gateway.upstream.script(CHAT, [answer("yes")])
    team_gateway.upstream.script(EMBEDDINGS, [embeddings([1.0, 0.0])])
    name = "ana/shared:latest"
    for caller in CALLERS:
        may = caller in USERS["shared"]
        prefix, headers = CARRIERS[carrier](caller)
        async with httpx.AsyncClient(
            base_url=team_gateway.url + prefix, headers=headers, timeout=20, trust_env=False
        ) as http:
            for path, body in ASKING.items():
                reply = await http.post(path, json={"model": name, **body})
                assert reply.status_code == (200 if may else 404), (caller, path, reply.text)
            assert (name in await listed(http)) == may
            assert (await http.get(f"/v1/models/{name}")).status_code == (200 if may else 404)
            running = {entry["name"] for entry in (await http.get("/api/ps")).json()["models"]}
            assert (name in running) == may
    prefix, headers = CARRIERS[carrier]("nobody-of-the-team")
    async with httpx.AsyncClient(base_url=team_gateway.url + prefix, headers=headers, trust_env=False) as http:
        for path, body in ASKING.items():
            assert (await http.post(path, json={"model": name, **body})).status_code == 401, path


async def test_a_callers_own_namespace_is_me(team_gateway: TeamGateway) -> None:
    await make(team_gateway)
    async with team_gateway.http("bob") as http:
        assert (await http.post("/api/show", json={"model": "me/legal"})).status_code == 404
    async with team_gateway.http("ana") as http:
        assert (await http.post("/api/show", json={"model": "ME/Legal"})).json()["system"] == SECRET


@pytest.mark.parametrize("kind", AGENTS)
async def test_the_side_api_shows_what_may_be_used_and_changes_what_is_owned(
    team_gateway: TeamGateway, kind: str
) -> None:
    agent = await make(team_gateway, name=kind, **AGENTS[kind])
    place = f"/api/v1/agents/{agent['id']}"
    for caller in sorted(CALLERS.keys() - {"key", "ana", "ada"}):
        may = caller in USERS[kind]
        async with team_gateway.http(caller) as http:
            shown = await http.get(place)
            assert shown.status_code == (200 if may else 404)
            assert SECRET not in shown.text
            if may:
                assert (shown.json()["system_prompt"], shown.json()["role_ids"]) == (None, None)
            page = (await http.get("/api/v1/agents")).json()
            assert [entry["id"] for entry in page["items"]] == ([agent["id"]] if may else [])
            assert (await http.get("/api/v1/agents/my")).json()["total"] == 0
            if caller != "may":
                writes = [await http.put(place, json=draft("taken")), await http.delete(place)]
                assert [reply.status_code for reply in writes] == [403 if may else 404] * 2
            else:
                assert (await http.delete(place)).status_code == 403
    async with team_gateway.http("ana") as http:
        assert (await http.get(place)).json() == agent


async def test_an_agent_is_replaced_and_removed_by_its_owner(team_gateway: TeamGateway) -> None:
    agent = await make(
        team_gateway, temperature=0.3, parameters={"num_ctx": 4096}, avatar_url="https://a.example/x.png"
    )
    assert (agent["model_name"], agent["temperature"]) == ("ana/legal:latest", 0.3)
    assert agent["capabilities"] == ["completion", "tools", "vision", "thinking"]
    async with team_gateway.http("ana") as http:
        changed = await http.put(f"/api/v1/agents/{agent['id']}", json=draft("lex"))
        assert changed.json()["parameters"] == {}
        assert (changed.json()["avatar_url"], changed.json()["created_at"]) == (None, agent["created_at"])
        assert {"ana/lex:latest"} == {name for name in await listed(http) if "/" in name}
        assert (await http.delete(f"/api/v1/agents/{agent['id']}")).status_code == 204
        assert {name for name in await listed(http) if "/" in name} == set()
        assert (await http.get(f"/api/v1/agents/{agent['id']}")).status_code == 404


async def test_a_patch_changes_what_it_names_and_nothing_else(team_gateway: TeamGateway) -> None:
    agent = await make(team_gateway, parameters={"temperature": 0.3, "top_k": 9}, avatar_url="https://a.example/x.png")
    place = f"/api/v1/agents/{agent['id']}"
    async with team_gateway.http("ana") as http:
        for body in (
            {},
            {"description": "Law."},
            {"system_prompt": "Mild.", "messages": [{"role": "user", "content": "x"}]},
            {"temperature": 0.5},
            {"parameters": {"num_ctx": 4096}},
            {"temperature": None, "avatar_url": None},
            {"is_public": True, "role_ids": [str(LAWYERS)]},
        ):
            changed = await http.patch(place, json=body)
            assert changed.status_code == 200, changed.text
            agent = {**agent, **body, "updated_at": changed.json()["updated_at"]}
            assert changed.json() == agent
        renamed = await http.patch(place, json={"name": "Lex"})
        assert renamed.json()["model_name"] == "ana/lex:latest"
        for refused in ({"model": "nope"}, {"parameters": {"temprature": 1}}, {"id": "x"}):
            assert (await http.patch(place, json=refused)).status_code == 422
    for caller, status in (("bob", 403), ("may", 403), ("ada", 200)):
        async with team_gateway.http(caller) as http:
            assert (await http.patch(place, json={"description": caller})).status_code == status


async def test_an_agent_is_shared_with_roles_by_name(team_gateway: TeamGateway) -> None:
    agent = await make(team_gateway, roles=["lawyers"])
    assert agent["role_ids"] == [str(LAWYERS)]
    async with team_gateway.http("ana") as http:
        assert (await http.get("/api/v1/roles")).json()["items"] == [{"id": str(LAWYERS), "name": "lawyers"}]
        assert (await http.patch(f"/api/v1/agents/{agent['id']}", json={"roles": []})).json()["role_ids"] == []
    async with team_gateway.http("ada") as http:
        names = {role["name"] for role in (await http.get("/api/v1/roles")).json()["items"]}
        assert {"lawyers", "writers"} <= names
        both = {"roles": ["writers"], "role_ids": [str(LAWYERS)]}
        shared = await http.patch(f"/api/v1/agents/{agent['id']}", json=both)
        assert shared.json()["role_ids"] == [str(LAWYERS), str(WRITERS)]
    async with team_gateway.http("may") as http:
        assert (await http.get("/api/v1/roles")).status_code == 403


async def test_whoever_manages_agents_may_change_them_and_it_is_written_down(team_gateway: TeamGateway) -> None:
    agent = await make(team_gateway)
    async with team_gateway.http("ada") as http:
        place = f"/api/v1/agents/{agent['id']}"
        assert (await http.put(place, json=draft("legal", system_prompt="Mild."))).status_code == 200
        assert (await http.delete(place)).status_code == 204
        log = (await http.get("/api/v1/admin/audit")).json()["items"]
    entries = [(entry["action"], entry["owner_id"]) for entry in log if entry["object_id"] == agent["id"]]
    assert entries == [(f"agent.{verb}", agent["owner_id"]) for verb in ("delete", "update", "create")]
    assert SECRET not in json.dumps(log)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "a/b"}, 422),
        ({"name": ""}, 422),
        ({"model": "no such model"}, 422),
        ({"model": "nope"}, 422),
        ({"parameters": {"temprature": 1}}, 422),
        ({"parameters": {"top_k": "many"}}, 422),
        ({"temperature": 1, "parameters": {"temperature": 0.5}}, 422),
        ({"parameters": {"temperature": 3}}, 422),
        ({"temperature": -1}, 422),
        ({"roles": ["nobody"]}, 422),
        ({"roles": ["writers"]}, 422),
        ({"temperature": "hot"}, 422),
        ({"avatar_url": "http://a.example/x.png"}, 422),
        ({"avatar_url": "javascript:alert(1)"}, 422),
        ({"system_prompt": "x" * (64 * 1024 + 1)}, 422),
        ({"messages": [{"role": "user", "content": "x"}] * 51}, 422),
        ({"messages": [{"role": "tool", "content": "x"}]}, 422),
        ({"role_ids": [str(uuid.uuid4())]}, 422),
        ({"role_ids": [str(WRITERS)]}, 422),
        ({"owner_id": str(BOB.user_id)}, 422),
        ({"created_at": "2020-01-01T00:00:00Z"}, 422),
        ({"id": str(uuid.uuid4())}, 422),
        ({"name": "LEGAL"}, 409),
    ],
)
async def test_what_cannot_be_is_refused_and_not_repeated(
    team_gateway: TeamGateway, fields: dict[str, Any], status: int
) -> None:
    await make(team_gateway)
    async with team_gateway.http("ana") as http:
        reply = await http.post("/api/v1/agents", json={**draft("other"), **fields})
        assert reply.status_code == status, reply.text
        assert SECRET not in reply.text
        assert (await http.get("/api/v1/agents/my")).json()["total"] == 1


async def test_sharing_needs_the_right_to_publish(team_gateway: TeamGateway) -> None:
    agent = await make(team_gateway, is_public=True)
    async with team_gateway.http("may") as http:
        assert (await http.post("/api/v1/agents", json=draft())).status_code == 403
    async with team_gateway.http("key") as http:
        assert (await http.get(f"/api/v1/agents/{agent['id']}")).status_code == 401
        assert (await http.post("/api/show", json={"model": "ana/legal"})).json()["system"] == ""


async def test_an_agent_made_from_another_takes_over_what_its_maker_may_read(team_gateway: TeamGateway) -> None:
    await make(team_gateway, is_public=True, temperature=0.1)
    copy = await make(team_gateway, name="second", model="me/legal", system_prompt="", temperature=0.2)
    assert (copy["model"], copy["system_prompt"], copy["temperature"]) == (f"{BASE}:latest", SECRET, 0.2)
    async with team_gateway.http("bob") as http:
        reply = await http.post("/api/v1/agents", json=draft("stolen", model="ana/legal", system_prompt=""))
    assert reply.status_code == 403
    assert SECRET not in reply.text


async def test_an_agent_whose_base_is_gone_is_not_listed_and_says_so(team_gateway: TeamGateway) -> None:
    agent = await make(team_gateway)
    team_gateway.upstream.defaults["GET /v1/models"] = team_gateway.upstream.defaults["GET /api/tags"]
    await team_gateway.reload()
    async with team_gateway.http("ana") as http:
        assert "ana/legal:latest" not in await listed(http)
        reply = await http.post("/api/chat", json={"model": "me/legal", "messages": HI})
        assert (reply.status_code, "is gone" in reply.text) == (404, True)
        assert (await http.get(f"/api/v1/agents/{agent['id']}")).json()["is_available"] is False


@pytest.fixture
def never_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the index learn of what it is told only."""
    monkeypatch.setattr(index, "LOOK_SECONDS", 3600.0)


async def test_an_owners_suspension_return_and_removal_count_at_once(
    never_looking: None,  # noqa: ARG001 (before the gateway starts)
    team_gateway: TeamGateway,
) -> None:
    await make(team_gateway, is_public=True)
    place = f"/api/v1/admin/users/{ANA.user_id}"
    async with team_gateway.http("ada") as http, team_gateway.http("bob") as reader:
        for is_active in (False, True):
            assert (await http.patch(place, json={"is_active": is_active})).status_code == 200
            assert ("ana/legal:latest" in await listed(reader)) == is_active
        assert (await http.delete(place)).status_code == 204
        assert "ana/legal:latest" not in await listed(reader)
