"""Each request has an id, one line of log, one count; an accident tells nothing but the id."""

from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from backend.bootstrap.errors import install_error_handlers
from backend.core.errors import GatewayError, NotPermitted, Overloaded
from backend.llm.errors import ProviderRateLimited
from backend.web.access import AccessLog
from tests.unit.web.scripted import Client, scope_of

SECRET = "sk-AbCdEf0123456789"  # noqa: S105 (a canary)


def application() -> AccessLog:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    install_error_handlers(app)

    @app.get("/fine/{number}")
    async def fine(number: int) -> dict[str, Any]:
        return {"number": number, "bound": structlog.contextvars.get_contextvars()["request_id"]}

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError(f"boom {SECRET}")

    @app.get("/refused/{kind}")
    async def refused(kind: str) -> None:
        errors: dict[str, GatewayError] = {
            "permission": NotPermitted("no"),
            "busy": Overloaded("busy"),
            "limit": ProviderRateLimited("later", retry_after=7.2),
        }
        raise errors[kind]

    @app.get("/healthz")
    async def healthz() -> None:
        return None

    return AccessLog(app)


@pytest.fixture
def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway.test")


async def test_a_harmless_id_of_the_caller_is_kept_and_bound_to_the_log(client: httpx.AsyncClient) -> None:
    reply = await client.get("/fine/1", headers={"x-request-id": "Abc-1.2_3"})
    assert reply.headers["x-request-id"] == "Abc-1.2_3"
    assert reply.json()["bound"] == "Abc-1.2_3"
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\x1b[31m", "ä", "a;b"])
async def test_any_other_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    reply = await client.get("/fine/1", headers={"x-request-id": given.encode("latin-1")})  # type: ignore[dict-item]
    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 32


async def test_ids_differ(client: httpx.AsyncClient) -> None:
    assert len({(await client.get("/fine/1")).headers["x-request-id"] for _ in range(20)}) == 20


async def test_every_reply_carries_the_security_header(client: httpx.AsyncClient) -> None:
    for path in ("/fine/1", "/nowhere", "/broken"):
        assert (await client.get(path)).headers["x-content-type-options"] == "nosniff"


async def test_an_accident_is_an_opaque_500_with_the_id(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        reply = await client.get("/broken", headers={"x-request-id": "the-id"})
    assert reply.status_code == 500
    assert reply.json() == {"error": "internal error; tell the gateway's operator the request id the-id"}
    assert "Traceback" not in reply.text
    assert SECRET not in reply.text
    assert "request_failed_unexpectedly" in [entry["event"] for entry in logs]


async def test_one_line_tells_route_and_status_but_never_the_path(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.get("/fine/12345?key=secret")
        await client.get("/no/such/path")
        await client.get("/healthz")
    lines = [(entry["method"], entry["route"], entry["status"]) for entry in logs if entry["event"] == "request"]
    assert lines == [("GET", "/fine/{number}", 200), ("GET", "unmatched", 404)]
    assert "12345" not in str(logs)
    assert "secret" not in str(logs)


async def test_requests_are_counted_by_route(client: httpx.AsyncClient) -> None:
    def count() -> float:
        labels = {"route": "/fine/{number}", "status": "200"}
        return REGISTRY.get_sample_value("passerelle_requests_total", labels) or 0

    before = count()
    await client.get("/fine/1")
    await client.get("/fine/2")
    assert count() == before + 2


@pytest.mark.parametrize(
    ("kind", "status", "wait"), [("permission", 403, None), ("busy", 503, "2"), ("limit", 429, "8")]
)
async def test_a_refusal_is_ollamas_error_with_the_pause_in_whole_seconds(
    client: httpx.AsyncClient, kind: str, status: int, wait: str | None
) -> None:
    reply = await client.get(f"/refused/{kind}")
    assert reply.status_code == status
    assert set(reply.json()) == {"error"}
    assert reply.headers.get("retry-after") == wait


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [("GET", "/nowhere", 404, "404 page not found"), ("POST", "/broken", 405, "405 method not allowed")],
)
async def test_the_router_speaks_plainly(
    client: httpx.AsyncClient, method: str, path: str, status: int, text: str
) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, reply.text) == (status, text)


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/broken/", 301, "../broken"),
        ("POST", "/broken/", 307, "../broken"),
        ("GET", "/nowhere/", 404, None),
        ("GET", "//evil.test/", 404, None),
    ],
)
async def test_a_slash_too_many_is_redirected_here_and_nowhere_else(
    client: httpx.AsyncClient, method: str, path: str, status: int, location: str | None
) -> None:
    reply = await client.request(method, httpx.URL("http://gateway.test").copy_with(raw_path=path.encode()))
    assert (reply.status_code, reply.headers.get("location")) == (status, location)


async def test_what_is_no_request_is_passed_on() -> None:
    seen: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    client = Client()
    await AccessLog(app)({"type": "lifespan"}, client.receive, client.send)
    assert seen == ["lifespan"]


async def test_an_accident_in_mid_answer_sends_nothing_more() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    client = Client()
    with capture_logs():
        await AccessLog(app)(scope_of(), client.receive, client.send)
    assert [message["type"] for message in client.sent] == ["http.response.start"]
