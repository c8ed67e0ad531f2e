"""The whole application without a socket: the demo behind its routes, with and without keys."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backend.bootstrap import backends as module
from backend.bootstrap.application import build_application
from backend.core.config import Settings, load_settings
from backend.main import create_app
from backend.web.access import AccessLog

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
PUBLIC = [
    *[(method, path) for path in ("/", "/api/version") for method in ("GET", "HEAD")],
    *[("GET", path) for path in ("/healthz", "/readyz")],
]
CLOSED = [
    *[("GET", f"/api/{name}") for name in ("tags", "ps", "status")],
    *[("POST", f"/api/{name}") for name in ("chat", "generate", "embed", "embeddings", "show", "pull")],
    ("HEAD", "/api/tags"),
]
OPENAI = [
    *[("POST", f"/v1/{name}") for name in ("chat/completions", "completions", "embeddings")],
    ("POST", "/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/ns/model"),
]
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(_settings: Settings) -> bool:
        return False

    monkeypatch.setattr(module, "_finds_local_ollama", nowhere)
    monkeypatch.setattr("backend.providers.demo._PAUSE_SECONDS", 0)


@contextlib.asynccontextmanager
async def client_of(**values: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = build_application(load_settings(None, **values))
    async with app.router.lifespan_context(app) as state:

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await AccessLog(app)({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield client


async def test_the_demo_answers_a_chat_in_lines() -> None:
    async with client_of() as client:
        reply = await client.post("/api/chat", json={"model": "demo", "messages": MESSAGES})
        lines = [json.loads(line) for line in reply.text.split("\n")[:-1]]
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert lines[-1]["done"] is True
    assert "no model is configured" in "".join(line["message"]["content"] for line in lines)


@pytest.mark.parametrize(("method", "path"), PUBLIC)
async def test_probes_need_no_key(method: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.request(method, path)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [*CLOSED, *OPENAI])
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": KEY[:-1]}], ids=str)
async def test_everything_else_does(method: str, path: str, headers: dict[str, str]) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.request(method, path, headers=headers, content=b"{}")
        assert reply.status_code == 401
        assert KEY not in reply.text


@pytest.mark.parametrize(("method", "path"), OPENAI)
async def test_openais_routes_tell_errors_in_openais_shape(method: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        error = (await client.request(method, path, content=b"{}")).json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("authentication_error", None, None)
    assert "API key" in error["message"]


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}], ids=["bearer", "x-api-key"]
)
async def test_a_key_opens_the_routes(headers: dict[str, str]) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.get("/api/tags", headers=headers)).status_code == 200
        body = {"model": "demo", "messages": MESSAGES, "stream": False}
        assert (await client.post("/api/chat", headers=headers, json=body)).json()["done"] is True


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/generate", {"model": "demo", "prompt": "x", "stream": False}, 200),
        ("/api/generate", {"model": "demo"}, 200),
        ("/api/show", {"model": "demo"}, 200),
        ("/api/pull", {"model": "demo", "stream": False}, 200),
        ("/api/pull", {"model": "demo"}, 200),
        ("/api/embed", {"model": "demo", "input": "x"}, 400),
        ("/api/embeddings", {"model": "demo", "prompt": "x"}, 400),
        ("/api/embeddings", {"model": "demo"}, 200),
        ("/api/chat", {"model": "nope"}, 404),
        ("/api/chat", {"model": "demo", "messages": MESSAGES, "think": True}, 400),
    ],
)
async def test_each_route_answers_in_json(path: str, body: dict[str, Any], status: int) -> None:
    async with client_of() as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == status
    for line in reply.text.strip().split("\n"):
        assert isinstance(json.loads(line), dict)


def test_the_entry_point_is_logged_and_small() -> None:
    assert isinstance(create_app(load_settings(None)), AccessLog)
