"""Which web pages and host names may use the gateway."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from backend.web.origins import OriginGuard

SERVED = 200


async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": SERVED, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(guard: OriginGuard, method: str = "POST", **headers: str) -> tuple[int, dict[str, str]]:
    return await ask_raw(guard, method, *{"host": "127.0.0.1:8000", **headers}.items())


async def ask_raw(guard: OriginGuard, method: str, *headers: tuple[str, str]) -> tuple[int, dict[str, str]]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    await guard({"type": "http", "method": method, "headers": raw}, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def guard_of(*origins: str, check_host: bool = True, hosts: tuple[str, ...] = ()) -> OriginGuard:
    return OriginGuard(application, origins, check_host=check_host, hosts=hosts)


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost", "localhost:443", "127.0.0.1:8000", "[::1]:8000", "192.168.1.4", "10.0.0.1", "0.0.0.0:1"),
        *("gateway", "host.docker.internal:8000", "pc.local", "x.localhost"),
    ],
)
async def test_local_names_are_served(host: str) -> None:
    assert (await ask(guard_of(), host=host))[0] == SERVED


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:8000", "8.8.8.8", "127.0.0.1.evil.test", "[2001:4860::1]", "localhost.evil.test:80"],
)
async def test_a_name_a_stranger_can_own_is_refused_while_no_key_is_asked(host: str) -> None:
    assert (await ask(guard_of(), host=host))[0] == 403
    assert (await ask(guard_of(check_host=False), host=host))[0] == SERVED
    if not host.startswith("["):
        assert (await ask(guard_of(hosts=(host.partition(":")[0],)), host=host))[0] == SERVED


async def test_a_configured_host_is_served() -> None:
    assert (await ask(guard_of(hosts=("Gateway.Example",)), host="gateway.example:443"))[0] == SERVED


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "null", "chrome-extension://abc", "http://localhost.evil.test"]
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "GET"])
async def test_a_foreign_page_is_refused_before_anything_is_done(origin: str, method: str) -> None:
    status, headers = await ask(guard_of(), method, origin=origin)
    assert (status, set(headers)) == (403, {"content-type", "content-length"})


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "app://obsidian.md", "vscode-webview://x"]
)
async def test_a_local_page_is_served_and_may_read_the_reply(origin: str) -> None:
    status, headers = await ask(guard_of(), origin=origin)
    assert status == SERVED
    assert headers == {"access-control-allow-origin": origin, "vary": "Origin"}


async def test_the_same_origin_is_served_without_ceremony() -> None:
    assert await ask(guard_of(), host="pc.local:8000", origin="http://pc.local:8000") == (SERVED, {})


async def test_a_preflight_is_answered_without_reaching_the_application() -> None:
    status, headers = await ask(guard_of("https://chat.example"), "OPTIONS", origin="https://chat.example")
    assert status == 204
    assert headers["access-control-allow-origin"] == "https://chat.example"
    assert "X-Api-Key" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers


async def test_all_pages_may_be_allowed_but_never_with_credentials() -> None:
    status, headers = await ask(guard_of("*"), origin="https://any.test")
    assert (status, headers) == (SERVED, {"access-control-allow-origin": "*"})


MALFORMED = [
    "x/?",
    "a b",
    "a@b",
    "evil.test/x",
    "x?y",
    "x#y",
    "a:b",
    "a:1:2",
    "a:999999",
    "[::1",
    "é",
    "a,b",
    "http://a",
]


@pytest.mark.parametrize("host", MALFORMED)
@pytest.mark.parametrize("check_host", [True, False], ids=["open", "keys"])
async def test_a_host_that_is_none_reaches_nobody(host: str, check_host: bool) -> None:
    status, headers = await ask(guard_of(check_host=check_host), host=host)
    assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8")


@pytest.mark.parametrize("check_host", [True, False], ids=["open", "keys"])
@pytest.mark.parametrize("second", ["localhost", "evil.test", ""])
async def test_two_hosts_reach_nobody(second: str, check_host: bool) -> None:
    guard = guard_of(check_host=check_host)
    for pair in (("localhost", second), (second, "localhost")):
        assert (await ask_raw(guard, "GET", ("host", pair[0]), ("host", pair[1])))[0] == 400


async def test_a_request_without_a_host_is_served_as_by_ollama() -> None:
    assert (await ask_raw(guard_of(), "GET"))[0] == SERVED


@pytest.mark.parametrize(
    "origins", [("http://localhost", "https://evil.test"), ("https://evil.test", "http://localhost")]
)
async def test_two_origins_are_no_origin_that_is_allowed(origins: tuple[str, str]) -> None:
    headers = [("host", "localhost"), *(("origin", origin) for origin in origins)]
    assert (await ask_raw(guard_of("https://chat.example"), "POST", *headers))[0] == 403


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("chrome-extension://abcdef", True),
        ("Chrome-Extension://ABCDEF", True),
        ("moz-extension://abcdef", False),
        ("xchrome-extension://abcdef", False),
        ("https://evil.test/chrome-extension://", False),
        ("null", False),
    ],
)
async def test_all_of_a_scheme_may_be_allowed(origin: str, allowed: bool) -> None:
    assert (await ask(guard_of("chrome-extension://*"), origin=origin))[0] == (SERVED if allowed else 403)


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "anthropic-version", "content-type", "openai-beta"])
async def test_a_page_may_send_the_headers_of_every_wire_format(name: str) -> None:
    _, headers = await ask(guard_of(), "OPTIONS", origin="http://localhost")
    assert name in headers["access-control-allow-headers"].lower().split(",")
    assert headers["access-control-max-age"] == "43200"
    assert headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert headers["vary"] == "Origin"


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
async def test_without_an_origin_nothing_is_added(method: str) -> None:
    assert await ask(guard_of(), method) == (SERVED, {})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.test"}, 403),
        ({"host": "a b"}, 400),
        ({"origin": "https://chat.example"}, SERVED),
        ({}, SERVED),
    ],
    ids=str,
)
async def test_websockets_are_opened_by_the_same_pages(headers: dict[str, str], status: int) -> None:
    sent: list[Message] = []

    async def websocket(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "status": SERVED})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1", **headers}.items()]
    guard = OriginGuard(websocket, ["https://chat.example"], check_host=True, hosts=())
    await guard({"type": "websocket", "headers": raw}, receive, send)
    kind = "websocket.accept" if status == SERVED else "websocket.http.response.start"
    assert (sent[0]["type"], sent[0]["status"]) == (kind, status)
