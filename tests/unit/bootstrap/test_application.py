"""The whole application without a socket: the demo behind its routes, with and without keys."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backend.bootstrap import backends as module
from backend.bootstrap.application import build_application, guard_application
from backend.core.config import Settings, load_settings
from backend.main import create_app
from backend.web.path_key import PathKey
from tests.fakes.cli_identity import CliIdentity

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
PUBLIC = [
    *[(method, path) for path in ("/", "/api/version") for method in ("GET", "HEAD")],
    *[("GET", path) for path in ("/healthz", "/readyz")],
]
CLOSED = [
    *[("GET", f"/api/{name}") for name in ("tags", "ps", "status")],
    *[("POST", f"/api/{name}") for name in ("chat", "generate", "embed", "embeddings", "show", "pull")],
    ("HEAD", "/api/tags"),
    *[("POST", f"/v1/messages{tail}") for tail in ("", "/count_tokens")],
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
    settings = load_settings(None, **values)
    app = build_application(settings)
    guarded = guard_application(app, settings)
    async with app.router.lifespan_context(app) as state:

        async def served(scope: Any, receive: Any, send: Any) -> None:
            await guarded({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
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
        ("/v1/messages", {"model": "demo", "max_tokens": 9, "messages": MESSAGES}, 200),
        ("/v1/messages", {"model": "demo", "messages": MESSAGES}, 400),
        ("/v1/messages/count_tokens", {"model": "demo", "messages": MESSAGES}, 200),
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


async def test_an_error_of_the_messages_api_names_the_request_as_the_log_does() -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.post("/v1/messages", headers={"x-request-id": "mine"}, json={})
    assert reply.headers["x-request-id"] == "mine"
    assert reply.json()["error"]["type"] == "authentication_error"
    assert reply.json()["request_id"] == "req_mine"


async def test_other_paths_below_the_messages_api_are_unknown_as_in_ollama() -> None:
    async with client_of() as client:
        reply = await client.post("/v1/messages/batches", json={})
    assert (reply.status_code, reply.text) == (404, "404 page not found")


def test_the_entry_point_is_logged_and_small() -> None:
    assert isinstance(create_app(load_settings(None)), PathKey)


@pytest.mark.parametrize(("method", "path"), [*PUBLIC, ("HEAD", "/api/tags")])
async def test_a_refusal_never_makes_a_browser_ask_for_a_password(method: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.request(method, path)
    assert reply.headers.get("www-authenticate", "Bearer") == "Bearer"


async def test_a_refusal_is_told_where_the_command_looks() -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get("/api/tags")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["status"] == reply.json()["error"]


@pytest.mark.parametrize("prefix", ["/k", "/k/", f"/k/{KEY}", f"/k/{KEY[::-1]}", "/k/a%20b"])
@pytest.mark.parametrize(("method", "path"), PUBLIC)
async def test_probes_are_open_below_any_key(prefix: str, method: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.request(method, f"{prefix.rstrip('/')}{path}")).status_code in {200, 404}
        assert (await client.request(method, f"/k/x{path}")).status_code == 200


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_a_key_in_the_path_opens_the_routes_below_it_and_a_wrong_one_does_not(method: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.request(method, f"/k/{KEY}{path}", content=b"{}")).status_code not in {401, 405}
        for wrong in ("wrong", "", "ollama", "a%20b", "a%2Fb", KEY[:-1], "x" * 600):
            reply = await client.request(method, f"/k/{wrong}{path}", content=b"{}")
            assert reply.status_code == 401
            assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize("key", [KEY, "wrong", ""])
async def test_an_unknown_path_says_nothing_about_the_key(key: str) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get(f"/k/{key}/api/nothing")
    assert (reply.status_code, reply.text) == (404, "404 page not found")


@pytest.mark.parametrize("prefix", ["", f"/k/{KEY}", "/k/wrong"])
@pytest.mark.parametrize("path", ["/api/tags/", "/api/version/", "/connect/"])
async def test_a_slash_too_many_is_sent_back_without_the_key(prefix: str, path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get(prefix + path)
        assert reply.status_code == 301
        assert reply.headers["location"].startswith("../")
        assert reply.next_request is not None
        assert reply.next_request.url.path == prefix + path.rstrip("/")
        assert (await client.post(f"{prefix}/api/show/", content=b"{}")).status_code == 307


@pytest.mark.parametrize(
    ("query", "kept"), [("a=1", "?a=1"), (f"api_key={KEY}", ""), (f"a=1&token={KEY}", ""), ("", "")]
)
async def test_a_redirect_repeats_a_query_but_no_key(query: str, kept: str) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get(f"/api/tags/?{query}")
    assert reply.headers["location"] == f"../tags{kept}"


@pytest.mark.parametrize("path", ["/api/tags%2F", "/api/tags//", "//", "//api/tags/", "/api/nothing/", "//evil.test/"])
async def test_nothing_else_is_redirected(path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.get(f"http://gateway{path}")).status_code == 404


async def test_two_credentials_are_refused_in_words() -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get(f"/k/{KEY}/api/tags", headers={"x-api-key": "another"})
        assert (reply.status_code, "two different credentials" in reply.json()["error"]) == (400, True)
        same = await client.get(f"/k/{KEY}/api/tags", headers={"x-api-key": KEY, "authorization": "Bearer ollama"})
        assert same.status_code == 200


async def test_an_open_gateway_serves_below_any_key() -> None:
    async with client_of() as client:
        for path in ("/k/anything/api/tags", "/k/api/tags", "/k//api/tags"):
            reply = await client.get(path, headers={"authorization": "Bearer x", "x-api-key": "y"})
            assert reply.status_code == (404 if path == "/k/api/tags" else 200)


async def test_a_foreign_host_name_is_told_which_setting_allows_it() -> None:
    async with client_of() as client:
        reply = await client.get("/api/tags", headers={"host": "evil.test"})
        assert (reply.status_code, "GATEWAY_SERVER__ALLOWED_HOSTS" in reply.text) == (403, True)


async def test_preflights_need_no_key_anywhere() -> None:
    ask = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    async with client_of(api_keys=KEY) as client:
        for path in ("/api/chat", f"/k/{KEY}/api/chat", "/k/wrong/api/chat", "/no/such/path"):
            reply = await client.options(path, headers=ask)
            assert (reply.status_code, reply.content) == (204, b"")
            assert reply.headers["access-control-allow-origin"] == ask["origin"]
            foreign = await client.options(path, headers={**ask, "origin": "https://evil.test"})
            assert (foreign.status_code, "CORS_ORIGINS" in foreign.text) == (403, True)


@pytest.mark.parametrize("path", ["/api/chat", "/", f"/k/{KEY}/api/chat"])
async def test_options_without_an_origin_is_no_method_of_ours(path: str) -> None:
    async with client_of(api_keys=KEY) as client:
        assert (await client.options(path)).status_code == 405


CLI = CliIdentity(7)


def signed(method: str, path: str) -> dict[str, Any]:
    now = int(time.time())
    return {"params": {"ts": str(now)}, "headers": {"authorization": CLI.authorization(method, path, now)}}


@pytest.mark.parametrize("values", [{"public_keys": CLI.line}, {"public_keys": CLI.line, "api_keys": KEY}], ids=len)
async def test_a_registered_public_key_opens_the_routes(values: dict[str, Any]) -> None:
    async with client_of(**values) as client:
        assert (await client.get("/api/tags")).status_code == 401
        assert (await client.head("/", **signed("HEAD", "/"))).status_code == 200
        assert (await client.get("/api/tags", **signed("GET", "/api/tags"))).status_code == 200
        body = {"model": "demo"}
        assert (await client.post("/api/show", json=body, **signed("POST", "/api/show"))).status_code == 200
        assert (await client.post("/api/chat", json=body, **signed("POST", "/api/show"))).status_code == 401


@pytest.mark.parametrize(
    ("server", "url"),
    [({}, None), ({"public_url": "https://gw.example/"}, "https://gw.example/connect?key=")],
    ids=["no address", "an address"],
)
async def test_an_unknown_public_key_is_told_what_the_command_shows(server: dict[str, str], url: str | None) -> None:
    async with client_of(api_keys=KEY, server=server) as client:
        reply = await client.get("/api/tags", **signed("GET", "/api/tags"))
        told = reply.json()
        assert (reply.status_code, told["error"]) == (401, "unauthorized")
        assert "not registered" in told["status"]
        if url is None:
            assert "signin_url" not in told
            return
        assert told["signin_url"].startswith(url)
        page = await client.get(told["signin_url"].removeprefix("https://gw.example"))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/plain")
    assert f"ssh-ed25519 {CLI.public_key} " in page.text


@pytest.mark.parametrize("key", ["", "x", "<script>", f"{CLI.public_key}<b>", "AAAAC3NzaC1lZDI1NTE5" + "é" * 48])
async def test_the_page_for_public_keys_repeats_nothing_else(key: str) -> None:
    async with client_of(api_keys=KEY) as client:
        reply = await client.get("/connect", params={"key": key})
    assert reply.status_code == 400
    assert "ollama signin" in reply.json()["error"]
    assert not key or key not in reply.text
