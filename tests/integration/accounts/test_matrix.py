"""Who gets at whose things: every route with an id, asked by everybody, against a table.

A foreign object is answered as one that does not exist, to the letter. A new route with an id has to get a row here.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from backend.core.db.tables import utc_now
from backend.features.memory.exchanges import Exchange
from backend.features.memory.writing import MemoryWriter
from tests.architecture.test_policies import labels, router_routes
from tests.fakes.cli_identity import CliIdentity
from tests.integration.accounts.conftest import KEY, Side

OWNER, OTHER, SUSPENDED = "owner@example.org", "other@example.org", "suspended@example.org"
CALLERS = ("owner", "models key", "other", "suspended", "anonymous", "settings key", "admin")
SECRET = "the owner's prompt"  # noqa: S105 (a prompt)
UNIQUE = "<unique>"
"""In a body, stands for a name that nothing has yet."""
RETRY = "POST /api/v1/admin/documents/{document_id}/retry"
AGENT = {"model": "demo", "system_prompt": SECRET}


@dataclass(frozen=True)
class Row:
    """What each caller is told about an object of the owner's; strangers are always told 401."""

    owner: int
    models_key: int
    """What the owner's own key is told that is for models only."""
    other: int
    admin: int
    settings_key: int
    body: Mapping[str, Any] | None = None

    def verdict(self, caller: str) -> int:
        if caller in ("suspended", "anonymous"):
            return 401
        return int(getattr(self, caller.replace(" ", "_")))


def own(
    status: int,
    body: Mapping[str, Any] | None = None,
    *,
    models_key: int = 403,
    admin: int = 404,
    settings_key: int = 401,
) -> Row:
    """What people do with their own things: to others they are not there, and a settings key has none."""
    return Row(status, models_key, 404, admin, settings_key, body)


def administered(status: int, body: Mapping[str, Any] | None = None) -> Row:
    """What only those may do who have the permission: others learn nothing, not even about their own."""
    return Row(403, 403, 403, status, 403, body)


TABLE = {
    "DELETE /api/v1/sessions/{session_id}": own(204),
    "GET /api/v1/agents/{agent_id}": own(200, models_key=200, admin=200),
    "PUT /api/v1/agents/{agent_id}": own(200, {**AGENT, "name": UNIQUE}, admin=200),
    "PATCH /api/v1/agents/{agent_id}": own(200, {"description": "Another"}, admin=200),
    "DELETE /api/v1/agents/{agent_id}": own(204, admin=204),
    "GET /api/v1/keys/{key_id}": own(200, settings_key=403),
    "PATCH /api/v1/keys/{key_id}": own(200, {"name": "Another name"}, settings_key=403),
    "POST /api/v1/keys/{key_id}/rotate": own(200, {}, settings_key=403),
    "DELETE /api/v1/keys/{key_id}": own(204, settings_key=403),
    "DELETE /api/v1/public-keys/{public_key_id}": own(204, settings_key=403),
    "GET /api/v1/chats/{chat_id}": own(200, models_key=200),
    "PATCH /api/v1/chats/{chat_id}": own(200, {"title": "Another title"}, models_key=200),
    "PUT /api/v1/chats/{chat_id}": own(200, {"title": "Another title"}, models_key=200),
    "DELETE /api/v1/chats/{chat_id}": own(204, models_key=204),
    "GET /api/v1/chats/{chat_id}/export": own(200, models_key=200),
    "GET /api/v1/messages/chat/{chat_id}": own(200, models_key=200),
    "GET /api/v1/messages/{message_id}/sources": own(200, models_key=200),
    "GET /api/v1/collections/{collection_id}": own(200, models_key=200, admin=200),
    "PUT /api/v1/collections/{collection_id}": own(200, {"name": UNIQUE}, admin=200),
    "DELETE /api/v1/collections/{collection_id}": own(204, admin=204),
    "POST /api/v1/collections/{collection_id}/search": own(200, {"query": SECRET}, models_key=200),
    "GET /api/v1/documents/{document_id}": own(200, models_key=200, admin=200),
    "DELETE /api/v1/documents/{document_id}": own(202, admin=202),
    "GET /api/v1/documents/{document_id}/versions": own(200, models_key=200, admin=200),
    "GET /api/v1/documents/{document_id}/chunks": own(200, models_key=200, admin=200),
    "GET /api/v1/documents/{document_id}/content": own(200, models_key=200, admin=200),
    "GET /api/v1/keys/{key_id}/history": own(200),
    "PUT /api/v1/keys/{key_id}/history": own(200, {"enabled": False}),
    "GET /api/v1/agents/{agent_id}/history": own(200),
    "PUT /api/v1/agents/{agent_id}/history": own(200, {"enabled": False}),
    "DELETE /api/v1/memories/{memory_id}": own(204, models_key=204),
    "GET /api/v1/admin/users/{user_id}/keys": administered(200),
    "DELETE /api/v1/admin/keys/{key_id}": administered(204),
    "DELETE /api/v1/admin/public-keys/{public_key_id}": administered(204),
    "GET /api/v1/admin/users/{user_id}": administered(200),
    "PATCH /api/v1/admin/users/{user_id}": administered(200, {"name": "Somebody"}),
    "DELETE /api/v1/admin/users/{user_id}": administered(204),
    "POST /api/v1/admin/users/{user_id}/password": administered(204, {"password": "quite another phrase"}),
    "GET /api/v1/admin/users/{user_id}/sessions": administered(200),
    "DELETE /api/v1/admin/sessions/{session_id}": administered(204),
    "GET /api/v1/admin/roles/{role_id}": administered(200),
    "PATCH /api/v1/admin/roles/{role_id}": administered(200, {"description": "Changed."}),
    "DELETE /api/v1/admin/roles/{role_id}": administered(204),
    "GET /api/v1/admin/quotas/{user_id}": administered(200),
    "PUT /api/v1/admin/quotas/{user_id}": administered(200, {"tokens_per_day": 5}),
    "DELETE /api/v1/admin/quotas/{user_id}": administered(204),
    "POST /api/v1/admin/documents/{document_id}/cancel": administered(200),
    "POST /api/v1/admin/documents/{document_id}/start": administered(200),
    RETRY: administered(200),
}


ELSEWHERE = {
    "GET /api/v1/messages/stream/{chat_id}",
    "GET /api/v1/documents/{document_id}/events",
    "POST /api/v1/documents/{document_id}/versions",
}
"""Go on until their caller leaves, or take a form: tested in `tests/integration/history` and `knowledge`."""


class World:
    """A gateway with everybody in it, and new things of the owner's whenever they are needed."""

    def __init__(self, admin: Side, callers: Mapping[str, Side]) -> None:
        self.callers = callers
        self._admin = admin
        self._made = 0
        self._makers: Mapping[str, Callable[[], Awaitable[str]]] = {
            "session_id": self._session,
            "agent_id": self._agent,
            "user_id": self._user,
            "role_id": self._role,
            "key_id": self._key,
            "public_key_id": self._public_key,
            "chat_id": self._chat,
            "memory_id": self._memory,
            "message_id": self._message,
            "collection_id": self._collection,
            "document_id": self._document,
        }

    @classmethod
    async def begin(cls, admin: Side) -> "World":
        await admin.container.knowledge.dispatcher.aclose()  # documents stay as they are
        permissions = ["models:use", "agents:write", "keys:write", "knowledge:write"]
        await admin.ask("POST", "/admin/roles", {"name": "others", "permissions": permissions})
        await admin.make_user(OWNER)
        await admin.make_user(OTHER, role="others")
        gone = await admin.make_user(SUSPENDED)
        suspended = await admin.as_user(SUSPENDED)
        assert (await admin.ask("PATCH", f"/admin/users/{gone['id']}", {"is_active": False})).status_code == 200
        owner = await admin.as_user(OWNER)
        key = await owner.ask("POST", "/keys", {"name": "models", "permissions": ["models:use"]})
        credential = owner.headers["authorization"]
        cookies = f"access_token={credential[7:]}; authorization={credential}; session={credential[7:]}"
        callers = {
            "owner": owner,
            "models key": Side(admin.client, admin.container, {"x-api-key": key.json()["key"]}),
            "other": await admin.as_user(OTHER),
            "suspended": suspended,
            "anonymous": Side(admin.client, admin.container, {"cookie": cookies}),
            "settings key": Side(admin.client, admin.container, {"x-api-key": KEY}),
            "admin": admin,
        }
        return cls(admin, callers)

    async def make(self, name: str) -> str:
        """Return the id of a new thing of the owner's, by the name of a path's parameter."""
        self._made += 1
        return await self._makers[name]()

    async def _session(self) -> str:
        owner = await self._admin.as_user(OWNER)
        sessions = (await owner.ask("GET", "/sessions")).json()["items"]
        return str(next(session["id"] for session in sessions if session["is_current"]))

    async def _agent(self) -> str:
        reply = await self.callers["owner"].ask("POST", "/agents", {**AGENT, "name": f"agent-{self._made}"})
        return str(reply.json()["id"])

    async def _user(self) -> str:
        return str((await self._admin.make_user(f"somebody{self._made}@example.org"))["id"])

    async def _role(self) -> str:
        body = {"name": f"role-{self._made}", "permissions": ["models:use"]}
        return str((await self._admin.ask("POST", "/admin/roles", body)).json()["id"])

    async def _key(self) -> str:
        return str((await self.callers["owner"].ask("POST", "/keys", {"name": "one"})).json()["id"])

    async def _chat(self) -> str:
        return str((await self.callers["owner"].ask("POST", "/chats", {"title": SECRET})).json()["id"])

    async def _message(self) -> str:
        reply = await self.callers["owner"].ask("POST", "/messages", {"content": SECRET, "model": "demo"})
        return str(reply.json()["message"]["id"])

    async def _collection(self) -> str:
        reply = await self.callers["owner"].ask("POST", "/collections", {"name": f"{SECRET} {self._made}"})
        return str(reply.json()["id"])

    async def _document(self) -> str:
        owner = self.callers["owner"]
        form = {"entity_type": "collection", "entity_id": await self._collection()}
        sent = {"data": form, "files": {"file": (f"{SECRET}.txt", SECRET.encode())}, "headers": owner.headers}
        return str((await owner.client.post("/api/v1/documents/upload", **sent)).json()["id"])

    async def _memory(self) -> str:
        owner, container = self.callers["owner"], self._admin.container
        agent_id, chat_id = uuid.UUID(await self._agent()), uuid.UUID(await self._chat())
        user_id = uuid.UUID((await owner.ask("GET", "/auth/me")).json()["id"])
        exchange = Exchange(user_id, agent_id, chat_id, SECRET, SECRET, utc_now())
        await container.commits.write(MemoryWriter(9).keep, exchange)
        return str((await owner.ask("GET", "/memories")).json()["items"][0]["id"])

    async def _public_key(self) -> str:
        body = {"name": "laptop", "public_key": CliIdentity(self._made).line}
        return str((await self.callers["owner"].ask("POST", "/public-keys", body)).json()["id"])

    async def ask(self, caller: str, route: str, ids: Mapping[str, str]) -> httpx.Response:
        method, _, path = route.partition(" ")
        body = TABLE[route].body
        if body is not None:
            body = {key: f"new-{uuid.uuid4().hex[:8]}" if value == UNIQUE else value for key, value in body.items()}
        return await self.callers[caller].ask(method, path.removeprefix("/api/v1").format(**ids), body)


def parameters(path: str) -> list[str]:
    return re.findall(r"{(\w+)", path)


def routes_with_ids() -> set[str]:
    return {
        name
        for route in router_routes()
        if route.path.startswith("/api/v1/") and parameters(route.path)
        for name in labels(route)
    }


def test_every_route_with_an_id_has_a_row() -> None:
    assert TABLE.keys() | ELSEWHERE == routes_with_ids()


@pytest.mark.parametrize("route", TABLE)
async def test_everybody_gets_what_the_table_says_and_no_more(admin: Side, route: str) -> None:
    world = await World.begin(admin)
    names = parameters(route)
    for caller in CALLERS:
        verdict = TABLE[route].verdict(caller)
        ids = {name: await world.make(name) for name in names}
        if route == RETRY:
            await admin.ask("POST", f"/admin/documents/{ids['document_id']}/cancel")
        found = await world.ask(caller, route, ids)
        assert found.status_code == verdict, (caller, found.text)
        missing = await world.ask(caller, route, {name: str(uuid.uuid4()) for name in names})
        is_allowed = verdict < 300
        assert missing.status_code == (404 if is_allowed else verdict), (caller, missing.text)
        assert is_allowed or found.content == missing.content, caller
        assert is_allowed or SECRET not in found.text
        malformed = await world.ask(caller, route, dict.fromkeys(names, "1' or '1'='1"))
        assert malformed.status_code == (422 if is_allowed or malformed.status_code == 422 else verdict), (
            caller,
            malformed.text,
        )
