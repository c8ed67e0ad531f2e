"""A connection that can be closed from inside, and patience that ends."""

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from backend.web import protocol
from backend.web.protocol import GatewayProtocol
from backend.web.streaming import ABORT, CLOSE
from tests.fakes.providers import settle_loop

HEAD = b"GET /x HTTP/1.1\r\nhost: gateway.test\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return bool(self.calls)

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""


class Application:
    """Remembers its scopes, and waits for the client to leave where told to."""

    def __init__(self, *, waits: bool = False) -> None:
        self.scopes: list[Scope] = []
        self.disconnects = 0
        self._waits = waits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if self._waits:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.disconnects += 1
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.03)


def connect(app: Any) -> tuple[GatewayProtocol, Wire]:
    config = uvicorn.Config(app, http=GatewayProtocol, lifespan="off", log_config=None, ws="none")
    config.load()
    connection = GatewayProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


async def test_each_request_can_close_its_connection() -> None:
    app = Application()
    connection, wire = connect(app)
    connection.data_received(HEAD)
    await settle_loop()
    extensions = app.scopes[0]["extensions"]
    extensions[ABORT]()
    extensions[CLOSE]()
    assert wire.calls[-2:] == ["abort", "close"]
    connection.connection_lost(None)


@pytest.mark.parametrize("sent", [b"", b"GET /x HTTP/1.1\r\nhost: a\r\n"], ids=["silence", "half a head"])
async def test_a_head_that_never_comes_ends_the_connection(sent: bytes) -> None:
    connection, wire = connect(Application())
    connection.data_received(sent)
    await asyncio.sleep(0.06)
    assert "close" in wire.calls
    connection.connection_lost(None)


async def test_a_whole_head_stops_the_clock() -> None:
    connection, wire = connect(Application(waits=True))
    connection.data_received(HEAD)
    await asyncio.sleep(0.06)
    assert "close" not in wire.calls
    connection.connection_lost(None)
    await settle_loop()


async def test_the_clock_starts_again_with_the_next_head() -> None:
    connection, wire = connect(Application())
    connection.data_received(HEAD)
    await settle_loop()
    connection.data_received(b"GET /y HT")
    connection.data_received(b"TP/1.1\r\nho")
    await asyncio.sleep(0.06)
    assert "close" in wire.calls
    connection.connection_lost(None)


async def test_the_running_request_is_told_of_a_lost_connection_though_others_wait_behind_it() -> None:
    app = Application(waits=True)
    connection, _ = connect(app)
    connection.data_received(HEAD + HEAD)
    await settle_loop()
    connection.connection_lost(ConnectionResetError())
    await settle_loop()
    assert app.disconnects == 1
    assert len(app.scopes) == 1


@pytest.mark.parametrize("name", [b"x-long: ", b"x: 1\r\ny: "], ids=["one header", "many headers"])
async def test_a_head_without_end_is_refused(name: bytes) -> None:
    app = Application()
    connection, wire = connect(app)
    connection.data_received(b"GET /x HTTP/1.1\r\nhost: a\r\n" + name)
    pieces = 0
    while not wire.is_closing():
        connection.data_received(b"v" * 1_000)
        pieces += 1
        assert pieces < 100
    await settle_loop()
    assert pieces > 60
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert wire.written.endswith(b"the headers are over 65536 bytes; send less")
    assert app.scopes == []
    connection.connection_lost(None)


async def test_bodies_are_not_counted_as_heads() -> None:
    app = Application()
    connection, wire = connect(app)
    post = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n" + b"b" * 200_000
    connection.data_received(post + post[:30])
    await settle_loop()
    connection.data_received(post[30:])
    await settle_loop()
    assert len(app.scopes) == 2
    assert "close" not in wire.calls
    connection.connection_lost(None)


EARLY = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"


async def test_a_body_nobody_waits_for_does_not_hold_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REST_SECONDS", 1.0)
    connection, wire = connect(Application())
    connection.data_received(EARLY)
    await settle_loop()
    for _ in range(4):
        connection.data_received(b"x")
        await asyncio.sleep(0.24)
    assert "close" not in wire.calls
    connection.data_received(b"x")
    await asyncio.sleep(0.1)
    assert "close" in wire.calls
    connection.connection_lost(None)


async def test_a_body_that_ends_after_its_answer_leaves_an_ordinary_idle_connection() -> None:
    app = Application()
    connection, wire = connect(app)
    connection.data_received(EARLY)
    await settle_loop()
    connection.data_received(b"x" * 1_000)
    await asyncio.sleep(connection.timeout_keep_alive - 0.1)
    assert "close" not in wire.calls
    connection.data_received(HEAD)
    await settle_loop()
    assert len(app.scopes) == 2
    connection.data_received(EARLY + b"x" * 10)
    await settle_loop()
    connection.data_received(b"x" * 990)
    await asyncio.sleep(connection.timeout_keep_alive + 0.1)
    assert "close" in wire.calls
    connection.connection_lost(None)
