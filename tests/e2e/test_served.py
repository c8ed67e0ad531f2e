"""The gateway as a process: keys, workers, the end, and secrets that stay where they are."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from tests.fakes.scripted_upstream import Piece, Reply, ScriptedUpstream, json_reply, sse_reply
from tests.fixtures.databases import PostgresServer
from tests.fixtures.gateway import Gateway, free_port, run_gateway

KEY = "0f9c2b7a5d3e8146a0b1c2d3e4f50617"
UPSTREAM_KEY = "canary-of-the-upstream-93b1f0"
CARDS = {
    "data": [{"id": "tiny", "object": "model", "capabilities": {"completion_chat": True, "function_calling": True}}]
}
CHUNK = b'data: {"choices":[{"delta":{"content":"word "},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
SSE = {"content-type": "text/event-stream"}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def mistral(upstream: ScriptedUpstream) -> dict[str, str]:
    upstream.defaults["GET /v1/models"] = json_reply(CARDS)
    upstream.defaults["POST /v1/chat/completions"] = sse_reply(CHUNK * 3 + END)
    return {"MISTRAL_API_KEY": UPSTREAM_KEY, "MISTRAL_BASE_URL": upstream.url}


def trickle(count: int, pause: float) -> Reply:
    return Reply(200, SSE, [*(Piece(CHUNK, pause) for _ in range(count)), Piece(END)])


@pytest.fixture
def keyed(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Gateway]:
    with run_gateway(tmp_path, {**mistral(upstream), "GATEWAY_API_KEYS": KEY}) as gateway:
        yield gateway


def test_without_any_setting_the_demo_answers(tmp_path: Path) -> None:
    with (
        run_gateway(tmp_path, {}) as gateway,
        httpx.Client(base_url=gateway.url) as client,
    ):
        assert client.get("/").text == "Ollama is running"
        names = [model["name"] for model in client.get("/api/tags").json()["models"]]
        assert names
        if names == ["demo:latest"]:
            reply = client.post("/api/chat", json={**CHAT, "model": "demo", "stream": False}, timeout=30).json()
            assert "no model is configured" in reply["message"]["content"]


def test_keys_guard_the_routes_but_not_the_probes(keyed: Gateway) -> None:
    with httpx.Client(base_url=keyed.url) as client:
        for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/api/version"), ("GET", "/healthz")):
            assert client.request(method, path).status_code == 200
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
            reply = client.get("/api/tags", headers=headers)
            assert reply.status_code == 401
            assert isinstance(reply.json()["error"], str)
        for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
            assert client.get("/api/tags", headers=headers).json()["models"][0]["name"] == "tiny:latest"
            assert client.post("/api/chat", headers=headers, json=CHAT).status_code == 200


def metrics_of(port: int) -> str:
    for _ in range(50):
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError("no metrics")


async def migrated(settings: Settings) -> None:
    async with open_database(settings, migrating=True):
        pass


def test_two_workers_answer_and_their_metrics_are_served_once(
    tmp_path: Path, upstream: ScriptedUpstream, postgres: PostgresServer
) -> None:
    port = free_port()
    store = {"DATABASE_URL": postgres.create_database(), "JWT_SECRET_KEY": KEY}
    env = {**mistral(upstream), **store, "GATEWAY_METRICS__PORT": str(port)}
    asyncio.run(migrated(load_settings(None, data_dir=tmp_path / "data", **store)))
    with run_gateway(tmp_path, env, "--workers", "2") as gateway:
        for _ in range(12):
            with httpx.Client(base_url=gateway.url) as client:
                assert client.post("/api/chat", json={**CHAT, "stream": False}, timeout=20).status_code == 200
        assert 'passerelle_requests_total{route="/api/chat",status="200"} 12.0' in metrics_of(port)
        assert "metrics_not_served" not in gateway.log_text()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=15) in {0, -signal.SIGTERM}


class Reader(threading.Thread):
    """Reads one streamed answer to its end, however that looks."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.body = b""
        self.error: httpx.HTTPError | None = None
        self.started = threading.Event()
        self._url = url

    def run(self) -> None:
        try:
            with httpx.stream("POST", f"{self._url}/api/chat", json=CHAT, timeout=30) as reply:
                for piece in reply.iter_raw():
                    self.body += piece
                    self.started.set()
        except httpx.HTTPError as error:
            self.error = error

    @property
    def last(self) -> Mapping[str, object]:
        value = json.loads(self.body.rstrip(b"\n").rpartition(b"\n")[2])
        assert isinstance(value, dict)
        return value


@pytest.mark.parametrize(
    ("grace", "count", "outcome"), [("10", 15, "done"), ("1", 200, "error")], ids=["in time", "too long"]
)
def test_a_stop_lets_answers_finish_or_tells_their_clients(
    tmp_path: Path, upstream: ScriptedUpstream, grace: str, count: int, outcome: str
) -> None:
    env = {**mistral(upstream), "GATEWAY_SERVER__SHUTDOWN_SECONDS": grace}
    upstream.defaults["POST /v1/chat/completions"] = trickle(count, 0.1)
    with run_gateway(tmp_path, env) as gateway:
        reader = Reader(gateway.url)
        reader.start()
        assert reader.started.wait(10)
        gateway.process.send_signal(signal.SIGTERM)
        stopped = time.monotonic()
        gateway.process.wait(timeout=20)
        assert time.monotonic() - stopped < float(grace) + 10
        reader.join(5)
    assert reader.last.get(outcome)
    if outcome == "error":
        assert reader.error is not None
        assert not reader.last.get("done")
    else:
        assert reader.body.count(b"word") == count


def test_a_gateway_that_stops_is_not_ready(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    env = mistral(upstream)
    upstream.defaults["POST /v1/chat/completions"] = trickle(20, 0.1)
    with run_gateway(tmp_path, env) as gateway, httpx.Client(base_url=gateway.url) as client:
        assert client.get("/readyz").status_code == 200
        reader = Reader(gateway.url)
        reader.start()
        assert reader.started.wait(10)
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(timeout=20)
        reader.join(5)
    assert reader.last.get("done")


def test_secrets_stay_out_of_logs_metrics_and_replies(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    port = free_port()
    prompt = "canary-of-the-prompt-5521"
    env = {**mistral(upstream), "GATEWAY_API_KEYS": KEY, "LOG_LEVEL": "DEBUG", "GATEWAY_METRICS__PORT": str(port)}
    chat = {"model": "tiny", "messages": [{"role": "user", "content": prompt}]}
    said: list[str] = []
    with run_gateway(tmp_path, env) as gateway, httpx.Client(base_url=gateway.url) as client:
        refusals = [
            json_reply({"error": {"message": f"key {UPSTREAM_KEY} is wrong"}}, 401),
            json_reply({"message": f"Bearer {UPSTREAM_KEY} broke it"}, 500),
            json_reply({"message": f"bad request with Bearer {UPSTREAM_KEY}"}, 400),
            Reply(200, SSE, CHUNK + b'data: {"error":{"message":"Bearer %s"}}\n\n' % UPSTREAM_KEY.encode()),
            sse_reply(CHUNK + END),
        ]
        for reply in refusals:
            upstream.defaults["POST /v1/chat/completions"] = reply
            for headers in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"x-api-key": f"{KEY}x"}):
                try:
                    answer = client.post("/api/chat", headers=headers, json=chat)
                    said.append(answer.text + str(answer.headers))
                except httpx.RemoteProtocolError:
                    said.append("")
        said.append(client.get(f"/api/tags?key={KEY}").text)
        said.append(client.post("/api/chat", headers={"x-api-key": KEY}, content=b'{"model": "' + KEY.encode()).text)
        said.append(metrics_of(port))
    told = "".join(said) + gateway.log_text()
    assert "/api/chat" in gateway.log_text()
    assert KEY not in told
    assert UPSTREAM_KEY not in told
    assert prompt not in told
