"""Credentials against a real server: who gets in by which way, and what is told and written about it."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from tests.fakes.cli_identity import CliIdentity
from tests.fakes.scripted_upstream import Reply, ScriptedUpstream, json_reply, sse_reply
from tests.fixtures.gateway import Gateway, free_port, run_gateway

KEY = "canary-0f9c2b7a5d3e8146a0b1c2d3"
BAD = "canary-ffffffff5d3e8146a0b1c2d3"
CLI, STRANGER = CliIdentity(11), CliIdentity(12)
PUBLIC_URL = "https://gw.example"
SECONDS = 15.0
MODEL = "tiny"
CARDS = {"data": [{"id": MODEL, "object": "model", "capabilities": {"completion_chat": True}}]}
CHUNK = b'data: {"choices":[{"delta":{"content":"word "},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
COMPLETIONS = "POST /v1/chat/completions"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


class Keyed:
    """A gateway that wants keys, logs all it can, and serves metrics."""

    def __init__(self, gateway: Gateway, upstream: ScriptedUpstream, metrics_port: int) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self._metrics_port = metrics_port

    def client(self, prefix: str = "", **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.gateway.url + prefix, timeout=SECONDS, trust_env=False, headers=headers)

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self._metrics_port}/metrics", trust_env=False).text

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are and return all that comes back until the server closes or falls silent."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.gateway.port), timeout=SECONDS) as connection:
            connection.sendall(request)
            connection.settimeout(2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while piece := connection.recv(65_536):
                    got += piece
        return got


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    port = free_port()
    with ScriptedUpstream() as upstream:
        upstream.defaults["GET /v1/models"] = json_reply(CARDS)
        upstream.defaults[COMPLETIONS] = sse_reply(CHUNK * 3 + END)
        env = {
            "MISTRAL_API_KEY": "key-of-the-upstream",
            "MISTRAL_BASE_URL": upstream.url,
            "GATEWAY_API_KEYS": KEY,
            "GATEWAY_PUBLIC_KEYS": CLI.line,
            "GATEWAY_SERVER__PUBLIC_URL": PUBLIC_URL,
            "GATEWAY_METRICS__PORT": str(port),
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
            "GATEWAY_LOG_FORMAT": "json",
        }
        with run_gateway(tmp_path_factory.mktemp("keyed"), env) as gateway:
            yield Keyed(gateway, upstream, port)


CARRIERS = {
    "bearer": ("", {"authorization": f"Bearer {KEY}"}),
    "x-api-key": ("", {"x-api-key": KEY}),
    "basic": ("", {"authorization": basic(f"open-webui:{KEY}")}),
    "path": (f"/k/{KEY}", {}),
    "path, placeholder bearer": (f"/k/{KEY}", {"authorization": "Bearer ollama", "x-api-key": "api-key-not-set"}),
    "path with a slash": (f"/k/{KEY}/", {}),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_carrier_opens_every_route(keyed: Keyed, carrier: str) -> None:
    prefix, headers = CARRIERS[carrier]
    with keyed.client(prefix, **headers) as client:
        assert client.head("/").status_code == 200
        assert client.get("/api/version").status_code == 200
        assert client.get("/api/tags").json()["models"][0]["name"] == f"{MODEL}:latest"
        assert client.post("/api/show", json={"model": MODEL}).status_code == 200
        lines = client.post("/api/chat", json=CHAT).text.strip().split("\n")
        assert json.loads(lines[-1])["done"] is True


def test_the_command_line_works_below_a_key(keyed: Keyed) -> None:
    """What `OLLAMA_HOST=http://gateway/k/<key> ollama run` sends, in its order."""
    with keyed.client() as client:
        for prefix in (f"/k/{KEY}/", f"/k/{KEY}"):
            assert client.head(prefix).status_code == 200
        assert client.get(f"/k/{KEY}/").text == "Ollama is running"
        shown = {"model": MODEL, "system": "", "template": "", "verbose": False, "options": None, "name": ""}
        assert client.post(f"/k/{KEY}/api/show", json=shown).status_code == 200
        reply = client.post(f"/k/{KEY}/api/generate", json={"model": MODEL, "prompt": "hi", "options": {}})
        assert json.loads(reply.text.strip().split("\n")[-1])["done"] is True


def test_the_python_sdk_works_below_a_key(keyed: Keyed) -> None:
    with ollama.Client(f"{keyed.gateway.url}/k/{KEY}", timeout=SECONDS, trust_env=False) as client:
        assert [model.model for model in client.list().models] == [f"{MODEL}:latest"]
        parts = client.chat(MODEL, CHAT["messages"], stream=True)
        assert "".join(part.message.content or "" for part in parts) == "word word word "
    with ollama.Client(f"{keyed.gateway.url}/k/{BAD}", timeout=SECONDS, trust_env=False) as client:
        with pytest.raises(ollama.ResponseError, match="not valid here") as caught:
            client.list()
        assert caught.value.status_code == 401


@pytest.mark.parametrize("prefix", ["", "/k/ollama", f"/k/{KEY}"])
def test_a_slash_too_many_leads_a_client_to_the_answer(keyed: Keyed, prefix: str) -> None:
    headers = {} if KEY in prefix else {"authorization": f"Bearer {KEY}"}
    with keyed.client(prefix, **headers) as client:
        got = client.get("/api/tags/", follow_redirects=True)
        assert (got.status_code, len(got.history)) == (200, 1)
        posted = client.post("/api/show/", json={"model": MODEL}, follow_redirects=True)
        assert (posted.status_code, len(posted.history)) == (200, 1)
        assert KEY not in str([one.headers for one in (*got.history, *posted.history)])


def test_the_command_signs_its_requests_with_its_own_key_pair(keyed: Keyed) -> None:
    """What `OLLAMA_AUTH=1 ollama run` sends: a signed heartbeat, `show` twice in a second, then the prompt."""
    with keyed.client() as client:
        now = int(time.time())
        assert CLI.send(client, "HEAD", "/").status_code == 200
        for _ in range(2):
            assert CLI.send(client, "POST", "/api/show", seconds=now, json={"model": MODEL}).status_code == 200
        assert CLI.send(client, "GET", "/api/tags").json()["models"]
        reply = CLI.send(client, "POST", "/api/chat", json=CHAT)
        assert json.loads(reply.text.strip().split("\n")[-1])["done"] is True


def test_a_signed_request_works_below_a_prefix_that_holds_no_key(keyed: Keyed) -> None:
    with keyed.client("/k/ollama") as client:
        assert CLI.send(client, "GET", "/api/tags").status_code == 200


@pytest.mark.parametrize(
    ("identity", "seconds", "told"),
    [(STRANGER, 0, "not registered"), (CLI, -1000, "set the clock"), (CLI, 1000, "set the clock")],
)
def test_a_signed_request_that_is_refused_says_why(
    keyed: Keyed, identity: CliIdentity, seconds: int, told: str
) -> None:
    with keyed.client() as client:
        reply = identity.send(client, "GET", "/api/tags", seconds=int(time.time()) + seconds)
    assert reply.status_code == 401
    assert told in reply.json()["status"]
    assert reply.json().get("signin_url", PUBLIC_URL).startswith(PUBLIC_URL)


def test_the_address_to_sign_in_at_is_never_what_the_host_header_says(keyed: Keyed) -> None:
    now = int(time.time())
    with keyed.client(host="evil.test", authorization=STRANGER.authorization("GET", "/api/tags", now)) as client:
        reply = client.get("/api/tags", params={"ts": now})
    assert reply.status_code == 401
    assert "evil.test" not in reply.text
    assert reply.json()["signin_url"].startswith(f"{PUBLIC_URL}/connect?key=")


# --- path variants never reach a handler without a credential

VARIANTS = [
    *(
        "/api/tags",
        "/api/tags/",
        "//api/tags",
        "/api//tags",
        "/api/tags//",
        "/./api/tags",
        "/x/../api/tags",
        "/API/TAGS",
    ),
    *(
        "/api/%74ags",
        "/api%2Ftags",
        "/%61pi/tags",
        "/api/tags%00",
        "/api/tags;x",
        "/api/tags?",
        "/api/tags?api_key=" + KEY,
    ),
    *(
        "/api/tags%2F",
        "/api/tags.json",
        "/api\\tags",
        "/api/tags%20",
        "/.//api/tags",
        "/%2e%2e/api/tags",
        "/api/tags%3F",
    ),
    *(
        "/k/api/tags",
        "/k//api/tags",
        "/k///api/tags",
        f"/k/{BAD}/api/tags",
        f"/k/{BAD}//api/tags",
        "/k/ollama/api/tags",
    ),
    *(
        f"/K/{KEY}/api/tags",
        f"/%6B/{KEY}/api/tags",
        f"/k%2F{KEY}/api/tags",
        f"//k/{KEY}/api/tags",
        f"/x/../k/{KEY}x/api/tags",
    ),
    *(f"/k/{KEY}%00/api/tags", f"/k/{KEY}%20/api/tags", f"/k/{KEY.upper()}/api/tags", f"/k/{BAD}/../{KEY}x/api/tags"),
    *("http://evil.test/api/tags", f"http://{KEY}@evil.test/api/tags", "*", "/k/" + "x" * 5_000 + "/api/tags"),
    f"/k/{BAD}/k/{KEY}/api/tags",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND", "get"])
def test_no_spelling_of_a_path_gets_past_the_key(keyed: Keyed, method: str) -> None:
    for target in VARIANTS:
        head = f"{method} {target} HTTP/1.1\r\nHost: gw:80\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        got = keyed.raw(head.encode())
        assert got.startswith(b"HTTP/1.1 "), (method, target)
        assert int(got.split(b" ", 2)[1]) not in range(200, 300), (method, target, got)
        assert MODEL.encode() + b":latest" not in got
        assert KEY.encode() not in got


@pytest.mark.parametrize(
    "host", ["x/?", "gw/api/version", "a b", "gw\r\nHost: gw", "/api/version?", "gw:99999999", "[::1"], ids=ascii
)
def test_a_host_header_changes_no_path_and_no_policy(keyed: Keyed, host: str) -> None:
    for authorization in ("", f"Authorization: Bearer {KEY}\r\n"):
        head = f"GET /api/tags HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n"
        got = keyed.raw(head.encode())
        assert got.startswith(b"HTTP/1.1 400 ")
        assert MODEL.encode() + b":latest" not in got


@pytest.mark.parametrize(
    "header",
    [
        *(
            "X-Original-URL: /api/tags",
            "X-Rewrite-URL: /api/tags",
            "X-HTTP-Method-Override: GET",
            "X-Forwarded-For: ::1",
        ),
        *(
            "Forwarded: for=127.0.0.1",
            f"X-Forwarded-Prefix: /k/{KEY}",
            f"Api-Key: {KEY}",
            f"Cookie: authorization={KEY}",
        ),
    ],
)
def test_no_header_stands_in_for_a_path_a_method_or_a_key(keyed: Keyed, header: str) -> None:
    for method, target, status in (("GET", "/api/tags", 401), ("POST", "/api/tags", 405), ("GET", "/", 200)):
        head = f"{method} {target} HTTP/1.1\r\nHost: gw\r\n{header}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        got = keyed.raw(head.encode())
        assert got.startswith(b"HTTP/1.1 %d " % status), (target, got)
        assert MODEL.encode() + b":latest" not in got


@pytest.mark.parametrize("expects", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/chat"), ("HEAD", "/"), ("DELETE", "/api/delete")])
def test_a_body_that_was_not_read_is_no_request(
    keyed: Keyed, method: str, path: str, expects: str, *, is_chunked: bool
) -> None:
    """What follows an early refusal on the same connection is the rest of its body, then the next request."""
    inner = f"GET /api/tags HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    if is_chunked:
        framed = f"Transfer-Encoding: chunked\r\n\r\n{len(inner):x}\r\n{inner}\r\n0\r\n\r\n"
    else:
        framed = f"Content-Length: {len(inner)}\r\n\r\n{inner}"
    last = "GET /api/version HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n"
    got = keyed.raw(f"{method} {path} HTTP/1.1\r\nHost: gw\r\n{expects}{framed}{last}".encode())
    assert got.count(b"HTTP/1.1 ") == 2
    assert got.count(b"HTTP/1.1 100 ") == 0
    assert got.endswith(b'{"version":"0.33.0"}')
    assert MODEL.encode() + b":latest" not in got


@pytest.mark.parametrize("host", ["gw:80", "gw.example:443", "[::1]:8000"])
def test_the_port_in_the_commands_host_header_is_no_obstacle(keyed: Keyed, host: str) -> None:
    with keyed.client(f"/k/{KEY}", host=host) as client:
        assert client.get("/api/tags").status_code == 200


# --- nothing repeats a credential


def canary_requests(keyed: Keyed) -> Iterator[httpx.Response]:
    """Send each carrier, right and wrong, to successes, refusals, unknown paths, redirects and broken bodies."""
    for key in (KEY, BAD):
        for prefix, headers in (
            ("", {"authorization": f"Bearer {key}"}),
            ("", {"x-api-key": key}),
            ("", {"authorization": basic(f"{key}:{key}")}),
            (f"/k/{key}", {}),
            (f"/k/{key}", {"x-api-key": BAD}),
            (f"/k/{key}%20", {}),
            (f"/%6b/{key}", {}),
            ("", {"cookie": f"key={key}", "referer": f"http://gw/k/{key}/", "x-forwarded-prefix": f"/k/{key}"}),
        ):
            with keyed.client(prefix, **headers) as client:
                for path in ("/", "/api/tags", "/api/nothing", "/api/tags/", f"/api/tags/?api_key={key}", f"/{key}"):
                    yield client.get(path)
                yield client.options("/api/chat", headers={"origin": "https://evil.test"})
                yield client.post("/api/tags")
                for body in (b"{", f'{{"model":"{MODEL}",'.encode(), json.dumps({**CHAT, "think": "ultra"}).encode()):
                    yield client.post("/api/chat", content=body)
                with contextlib.suppress(httpx.RemoteProtocolError):
                    yield client.post("/api/chat", json=CHAT)


def test_no_credential_is_in_any_log_reply_metric_or_upstream_request(keyed: Keyed) -> None:
    upstream_replies = [
        sse_reply(CHUNK + END),
        json_reply({"message": "broken"}, 500),
        json_reply({"message": "bad"}, 400),
        Reply(200, {"content-type": "text/event-stream"}, CHUNK, cut=True),
        Reply(200, {"content-type": "text/html"}, b"<html>"),
    ]
    said: list[str] = []
    for reply in upstream_replies:
        keyed.upstream.defaults[COMPLETIONS] = reply
        said += [f"{reply.headers}{reply.text}" for reply in canary_requests(keyed)]
    keyed.upstream.defaults[COMPLETIONS] = sse_reply(CHUNK * 3 + END)
    for request in (
        f"GET /k/{KEY}/api/tags HTTP/9.9\r\n\r\n",
        f"GET /k/{KEY}/api/tags\r\n\r\n",
        f"GET /k/{KEY}/{'x' * 70_000} HTTP/1.1\r\nHost: gw\r\n\r\n",
        f"GET /k/{KEY}/é HTTP/1.1\r\nHost: gw\r\n\r\n",
        f"GET /k/{KEY}/api/tags HTTP/1.1\r\nHost: {KEY}/\r\n\r\n",
        f"GET /api/tags HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {KEY}\x01\r\n\r\n",
        f"POST /api/chat HTTP/1.1\r\nHost: gw\r\nX-Api-Key: {KEY}\r\nContent-Length: x\r\n\r\n",
        f"POST /k/{KEY}/api/chat HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        f"GET /k/{KEY}/api/tags HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        f"{KEY} / HTTP/1.1\r\n\r\n",
        f"CONNECT {KEY}:443 HTTP/1.1\r\nHost: gw\r\n\r\n",
    ):
        said.append(keyed.raw(request.encode("latin-1")).decode("latin-1"))
    asked = "".join(f"{one.path}{one.query}{one.headers}{one.raw!r}" for one in keyed.upstream.requests)
    log = keyed.gateway.log_text()
    signed = CLI.authorization("GET", "/api/tags", int(time.time()))
    with keyed.client(authorization=signed) as client:
        said.append(client.get("/api/tags", params={"ts": "1"}).text)
    for told in ("".join(said), log, keyed.metrics(), asked):
        assert len(told) > 500
        for canary in (KEY, BAD, basic(f"{KEY}:{KEY}")[6:], signed.partition(":")[2]):
            assert canary not in told


# --- log lines

HOSTILE = [b"a\x1b[31mred", b'"}{"event":"forged', b"\xff\xfe", b"\xe2\x80\xa8", b"%0d%0aforged", b"x" * 5_000]


def test_every_log_line_is_one_event_whatever_a_stranger_sends(keyed: Keyed) -> None:
    for text in HOSTILE:
        for name in (b"X-Request-Id", b"Origin", b"User-Agent", b"X-Api-Key", b"Authorization"):
            keyed.raw(b"GET /api/tags HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n%s: %s\r\n\r\n" % (name, text))
        keyed.raw(b"GET /%s HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n" % text)
    lines = keyed.gateway.log_text().rstrip("\n").split("\n")
    told = [line for line in lines if line.startswith("passerelle: nobody has an account yet; ")]
    assert len(told) <= 1, "the token for the first administrator is told once, beside the log"
    events = [json.loads(line) for line in lines if line not in told]
    assert all(isinstance(event["event"], str) and "timestamp" in event for event in events)
    assert "forged" not in {event["event"] for event in events}
    assert {"method", "route", "status", "ms", "request_id"} <= next(
        e for e in events if e["event"] == "request"
    ).keys()


def test_a_start_with_a_public_key_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="passerelle: GATEWAY_PUBLIC_KEYS: entry 1 is not a line such as"),
        run_gateway(tmp_path, {"GATEWAY_PUBLIC_KEYS": "ssh-rsa AAAA somebody"}),
    ):
        pass
