"""Keys of accounts against a real server: every carrier on every wire, and nothing that repeats a key."""

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import load_settings
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.keys.format import new_key
from backend.features.keys.scope import KeyDraft
from tests.fakes.cli_identity import CliIdentity
from tests.fakes.scripted_upstream import ScriptedUpstream, json_reply, sse_reply
from tests.fixtures.gateway import Gateway, run_gateway

IDENTITY = CliIdentity(31)
EMAIL, PASSWORD = "eve@example.org", "a long and rare phrase"
MODEL, OTHER = "tiny", "large"
CARDS = [{"id": name, "object": "model", "capabilities": {"completion_chat": True}} for name in (MODEL, OTHER)]
CHUNK = b'data: {"choices":[{"delta":{"content":"word "},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
HI = [{"role": "user", "content": "hi"}]
WIRES: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HI},
    "/api/generate": {"prompt": "hi"},
    "/v1/chat/completions": {"messages": HI, "stream": True},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": HI, "max_tokens": 50},
}
CARRIERS = ("bearer", "x-api-key", "basic", "path")
DRAFTS = {
    "plain": KeyDraft("plain", 1),
    "bound": KeyDraft("bound", 1, models=(MODEL,)),
    "local": KeyDraft("local", 1, networks=("127.0.0.0/8",)),
    "elsewhere": KeyDraft("elsewhere", 1, networks=("192.0.2.0/24",)),
    **{f"rare {path}": KeyDraft("rare", 1, requests_per_minute=1) for path in WIRES},
}


@dataclass
class Served:
    """A running gateway, and keys of an account on it."""

    gateway: Gateway
    keys: dict[str, str]
    ids: dict[str, uuid.UUID]
    database: Path

    def client(self, key: str = "", carrier: str = "bearer", **headers: str) -> httpx.Client:
        """Return a client that shows a key in one of the ways there are."""
        shown = {
            "bearer": {"authorization": f"Bearer {key}"},
            "x-api-key": {"x-api-key": key},
            "basic": {"authorization": f"Basic {base64.b64encode(f'me:{key}'.encode()).decode()}"},
        }
        base = self.gateway.url + (f"/k/{key}" if carrier == "path" else "")
        own = shown.get(carrier, {}) if key else {}
        return httpx.Client(base_url=base, timeout=15, trust_env=False, headers={**own, **headers})


async def _seed(folder: Path) -> tuple[dict[str, str], dict[str, uuid.UUID]]:
    settings = load_settings(None, data_dir=folder)
    async with open_database(settings) as database:
        audit, running = AuditLog(database), RunningCalls()
        accounts = await open_accounts(settings, database, audit, signing_key(settings), running)
        owner = await accounts.own.create_admin(EMAIL, PASSWORD)
        async with open_keys(database, audit, accounts.sessions.known, running) as keys:
            made = {name: await keys.own.create(Caller(OPERATOR), owner.id, draft) for name, draft in DRAFTS.items()}
            await keys.public.create(Caller(OPERATOR), owner.id, "laptop", IDENTITY.public_key)
    return {name: new.key for name, new in made.items()}, {name: new.row.id for name, new in made.items()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    keys, ids = asyncio.run(_seed(folder / "data"))
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = json_reply({"data": CARDS})
        upstream.defaults["POST /v1/chat/completions"] = sse_reply(CHUNK + END)
        env = {
            "MISTRAL_API_KEY": "key-of-the-upstream",
            "MISTRAL_BASE_URL": upstream.url,
            "GATEWAY_AUTH": "keys",
            "LOG_LEVEL": "DEBUG",
        }
        with run_gateway(folder, env) as gateway:
            yield Served(gateway, keys, ids, folder / "data" / "passerelle.db")


@pytest.mark.parametrize("path", WIRES)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_carrier_opens_every_wire(served: Served, carrier: str, path: str) -> None:
    body = {"model": MODEL, **WIRES[path]}
    with served.client(served.keys["plain"], carrier) as client:
        reply = client.post(path, json=body)
        assert reply.status_code == 200, reply.text
        assert "word" in reply.text
    for wrong in (new_key(), served.keys["plain"][:-1] + "_", served.keys["elsewhere"]):
        with served.client(wrong, carrier) as client:
            refused = client.post(path, json=body)
            assert refused.status_code == 401
            assert wrong not in refused.text


@pytest.mark.parametrize("path", WIRES)
def test_a_key_bound_to_models_sees_no_other(served: Served, path: str) -> None:
    with served.client(served.keys["bound"], **{"x-request-id": "same"}) as client:
        assert [model["name"] for model in client.get("/api/tags").json()["models"]] == [f"{MODEL}:latest"]
        assert client.post(path, json={"model": MODEL, **WIRES[path]}).status_code == 200
        hidden = client.post(path, json={"model": OTHER, **WIRES[path]})
        unknown = client.post(path, json={"model": "nobody", **WIRES[path]})
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.text.replace(OTHER, "nobody") == unknown.text


@pytest.mark.parametrize("path", WIRES)
def test_a_key_used_too_often_is_told_in_the_words_of_its_wire(served: Served, path: str) -> None:
    with served.client(served.keys[f"rare {path}"]) as client:
        assert client.post(path, json={"model": MODEL, **WIRES[path]}).status_code == 200
        reply = client.post(path, json={"model": MODEL, **WIRES[path]})
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    told = reply.json()["error"]
    assert "1 requests a minute" in (told if path.startswith("/api/") else told["message"])


def test_no_header_moves_a_caller_into_another_network(served: Served) -> None:
    headers = {"x-forwarded-for": "192.0.2.1", "forwarded": "for=192.0.2.1", "x-real-ip": "192.0.2.1"}
    with served.client(served.keys["elsewhere"], **headers) as client:
        assert client.get("/api/tags").status_code == 401
    with served.client(served.keys["local"], **headers) as client:
        assert client.get("/api/tags").status_code == 200


def test_the_command_signs_its_requests_as_its_owner(served: Served) -> None:
    with served.client() as client:
        assert IDENTITY.send(client, "GET", "/api/tags").status_code == 200
        chat = {"model": MODEL, "messages": HI}
        assert IDENTITY.send(client, "POST", "/api/chat", json=chat).status_code == 200
        made = IDENTITY.send(client, "POST", "/api/create", json={"model": "me/legal", "from": MODEL, "system": "s"})
        assert made.status_code == 200, made.text
        assert "eve/legal:latest" in IDENTITY.send(client, "GET", "/api/tags").text
        assert IDENTITY.send(client, "POST", "/api/v1/keys", json={"name": "x"}).status_code == 403
        assert CliIdentity(32).send(client, "GET", "/api/tags").status_code == 401


def test_a_bound_key_neither_reads_nor_makes_agents_it_is_not_for(served: Served) -> None:
    draft = {"name": "tax", "model": MODEL, "system_prompt": "the secret prompt"}
    with served.client(served.keys["plain"]) as client:
        made = client.post("/api/v1/agents", json=draft)
        assert made.status_code == 201
        agent = f"/api/v1/agents/{made.json()['id']}"
    with served.client(served.keys["bound"]) as client:
        assert client.get("/api/v1/agents").json()["total"] == 0
        for method in ("GET", "DELETE"):
            assert client.request(method, agent).status_code == 404
        assert client.put(agent, json=draft).status_code == 404
        assert client.post("/api/v1/agents", json={**draft, "name": "law"}).status_code == 403
        assert client.post("/api/chat", json={"model": "eve/tax", "messages": HI}).status_code == 404
    with served.client(served.keys["plain"]) as client:
        both = client.post("/api/v1/keys", json={"name": "x", "models": ["me/tax"]}).json()["key"]
    with served.client(both) as client:
        assert [one["model_name"] for one in client.get("/api/v1/agents").json()["items"]] == ["eve/tax:latest"]
        assert client.post("/api/chat", json={"model": "eve/tax", "messages": HI}).status_code == 200
        assert client.post("/api/chat", json={"model": MODEL, "messages": HI}).status_code == 404


def test_no_key_is_in_any_log_reply_or_file(served: Served) -> None:
    with served.client(served.keys["plain"]) as client:
        made = client.post("/api/v1/keys", json={"name": "canary"}).json()
        key = made["key"]
        said = [client.post(f"/api/v1/keys/{made['id']}/rotate", json={"overlap_minutes": 5}).json()]
        paths = ("/api/v1/keys", f"/api/v1/keys/{made['id']}", "/api/v1/admin/keys", "/api/v1/admin/audit")
        said += [client.get(path).json() for path in paths]
        said.append(client.post("/api/v1/keys", json={"name": key, key: 1}).json())
        renewed = said[0].pop("key")
    wrong = new_key()
    for carrier in CARRIERS:
        for shown in (key, renewed, wrong):
            with served.client(shown, carrier) as client:
                said += [client.get(path).text for path in ("/api/tags", "/api/nothing", "/api/tags/", "/api/v1/keys")]
                said.append(client.post("/api/chat", content=b"{").text)
    wal = served.database.with_name(served.database.name + "-wal")
    kept = served.database.read_bytes() + (wal.read_bytes() if wal.exists() else b"")
    assert made["hint"].encode() in kept
    for canary in (key, renewed, wrong):
        assert canary not in json.dumps(said)
        assert canary not in served.gateway.log_text()
        assert canary.encode() not in kept


def test_a_revoked_key_is_refused_by_the_next_request(served: Served) -> None:
    with served.client(served.keys["local"]) as client:
        assert client.get("/api/tags").status_code == 200
    with served.client(served.keys["plain"]) as client:
        assert client.delete(f"/api/v1/keys/{served.ids['local']}").status_code == 204
    with served.client(served.keys["local"]) as client:
        assert client.get("/api/tags").status_code == 401
