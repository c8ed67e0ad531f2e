"""A key in the path is taken out before anything can repeat it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from backend.web.path_key import PATH_KEY, PathKey
from tests.unit.web.scripted import Client

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"


async def seen(path: str, raw: bytes | None = None) -> Scope:
    """Return the server's own scope as it is once the layer has passed it on."""
    scope: Scope = {"type": "http", "path": path, "raw_path": path.encode() if raw is None else raw}

    async def application(inner: Scope, _receive: Receive, _send: Send) -> None:
        assert inner is scope

    client = Client()
    await PathKey(application)(scope, client.receive, client.send)
    return scope


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (f"/k/{KEY}", "/"),
        (f"/k/{KEY}/", "/"),
        (f"/k/{KEY}/api/tags", "/api/tags"),
        (f"/k/{KEY}/api/tags/", "/api/tags/"),
        (f"/k/{KEY}//api/tags", "//api/tags"),
        (f"/k/{KEY}/k/{KEY[::-1]}/x", f"/k/{KEY[::-1]}/x"),
    ],
)
async def test_what_is_left_is_the_path_without_the_key(path: str, rest: str) -> None:
    scope = await seen(path)
    assert (scope["path"], scope["raw_path"]) == (rest, rest.encode())
    assert scope["extensions"][PATH_KEY] == KEY


async def test_escapes_behind_the_key_are_kept_in_the_raw_path() -> None:
    scope = await seen(f"/k/{KEY}/v1/models/a/b", b"/k/%s/v1/models/a%%2Fb" % KEY.encode())
    assert (scope["path"], scope["raw_path"]) == ("/v1/models/a/b", b"/v1/models/a%2Fb")


@pytest.mark.parametrize("key", [KEY, "a.b_c~d-e", "a+b=", "(x)*!$&',;:@"])
async def test_whatever_a_url_holds_without_escapes_may_be_a_key(key: str) -> None:
    assert (await seen(f"/k/{key}/api/tags"))["extensions"][PATH_KEY] == key


@pytest.mark.parametrize(
    ("path", "raw", "rest"),
    [
        ("/k", b"/k", "/"),
        ("/k/", b"/k/", "/"),
        ("/k//api/tags", b"/k//api/tags", "/api/tags"),
        ("/k/a b/api/tags", b"/k/a%20b/api/tags", "/api/tags"),
        ("/k/a/b/api/tags", b"/k/a%2Fb/api/tags", "/api/tags"),
        (f"/k/{KEY}/api/tags", f"/%6B/{KEY}/api/tags".encode(), "/api/tags"),
        (f"/k/{KEY}/api/tags", f"/k%2F{KEY}/api/tags".encode(), "/api/tags"),
        (f"/k/{KEY}/api/tags", f"/k/%30{KEY[1:]}/api/tags".encode(), "/api/tags"),
        ("/k/é/api/tags", "/k/é/api/tags".encode(), "/api/tags"),
        (f"/k/{'x' * 513}/api/tags", f"/k/{'x' * 513}/api/tags".encode(), "/api/tags"),
        ('/k/a"b/api/tags', b'/k/a"b/api/tags', "/api/tags"),
    ],
)
async def test_what_can_be_no_key_is_taken_out_all_the_same(path: str, raw: bytes, rest: str) -> None:
    scope = await seen(path, raw)
    assert (scope["path"], scope["extensions"][PATH_KEY]) == (rest, "")


@pytest.mark.parametrize(
    "path", ["/", "/api/tags", "/kitchen", "/api/k/x", f"//k/{KEY}/api", f"/K/{KEY}/api/tags", "/k;/x"]
)
async def test_other_paths_are_left_alone(path: str) -> None:
    scope = await seen(path)
    assert scope == {"type": "http", "path": path, "raw_path": path.encode()}


async def test_a_server_that_tells_no_raw_path_is_served_too() -> None:
    scope: Scope = {"type": "http", "path": f"/k/{KEY}/api/tags", "headers": []}

    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return None

    client = Client()
    await PathKey(application)(scope, client.receive, client.send)
    assert (scope["path"], scope["extensions"][PATH_KEY]) == ("/api/tags", KEY)


async def test_what_is_no_request_is_passed_on() -> None:
    passed: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope)

    client = Client()
    await PathKey(application)({"type": "lifespan"}, client.receive, client.send)
    assert passed == [{"type": "lifespan"}]


@given(st.text(alphabet="/k%2F6BX.é~ ", max_size=12))
async def test_no_path_breaks_it(tail: str) -> None:
    raw = tail.encode()
    scope = await seen(f"/k/{tail}", b"/k/" + raw)
    assert scope["path"].startswith("/")
    assert PATH_KEY in scope["extensions"]


async def test_a_websockets_path_is_cleaned_too() -> None:
    scope: Scope = {"type": "websocket", "path": f"/k/{KEY}/ws/socket.io/", "raw_path": None}

    async def application(_inner: Scope, _receive: Receive, _send: Send) -> None:
        return

    client = Client()
    await PathKey(application)(scope, client.receive, client.send)
    assert scope["path"] == "/ws/socket.io/"
    assert scope["extensions"][PATH_KEY] == KEY
