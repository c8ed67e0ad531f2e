"""The connections below sockets (Engine.IO): what a stranger may do with one, and how it is closed against their will.

A connection costs nothing but memory until it connects with a credential, for which it has `CONNECT_SECONDS`. What is
refused closes it: sending before that, sending too fast, bytes (no event of ours holds any), and what is no message.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from backend.core.logging import get_logger
from backend.features.auth.credentials import shows_key_in_query
from backend.features.live.members import Pace
from backend.web.streaming import ABORT

MAX_BYTES = 64 * 1024
"""Of one message."""
CONNECT_SECONDS = 10.0
MOST_CONNECTIONS = 5_000
"""In one process, those without a credential included."""
MOST_UNSENT = 1_000
"""Messages that may wait for one connection; one that reads so slowly is closed."""

_CONNECTION = "passerelle.connection"
"""Where the connection of a WebSocket stands in its ASGI scope."""
_BODY_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_CONNECT, _BINARY = "0", ("5", "6")
_log = get_logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Connections:
    """Serves connections and closes them.

    Args:
        engine: the library's server.
        is_member: whether a connection has shown a credential.
        spawn: runs something beside.
    """

    def __init__(self, engine: Any, is_member: Callable[[str], bool], spawn: Spawn) -> None:
        self._engine = engine
        self._is_member = is_member
        self._spawn = spawn
        self._paces: dict[str, Pace] = {}
        self._aborts: dict[str, Callable[[], None]] = {}
        self._library = dict(engine.handlers)
        engine.on("connect", self._opened)
        engine.on("message", self._received)
        engine.on("disconnect", self._closed)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket for as long as it is open."""
        query: bytes = scope["query_string"]
        fields = parse_qs(query.decode("latin-1"))
        if shows_key_in_query(query):
            await _refuse(scope, send, 401, b"a key in the query string is not read; send it as auth, or in a header")
        elif "j" in fields:
            await _refuse(scope, send, 400, b"JSONP is not served; use a client of Socket.IO 3 or later")
        elif scope["type"] == "websocket":
            await self._serve_websocket(fields.get("sid", [""])[0], scope, receive, send)
        elif scope["method"] == "POST":
            await self._take_body(scope, receive, send)
        else:
            await self._engine.handle_request(scope, receive, send)

    def is_open(self, connection: str) -> bool:
        """Whether a connection is there and not being closed."""
        socket = self._engine.sockets.get(connection)
        return socket is not None and not socket.closed and not socket.closing

    async def close(self, connection: str) -> None:
        """Close a connection; one that does not close by itself is cut."""
        abort = self._aborts.get(connection)
        socket = self._engine.sockets.get(connection)
        if socket is not None:
            await socket.close(wait=False)
        if abort is not None:
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, abort)

    async def drop_slow(self, connections: Iterable[str]) -> None:
        """Close those that do not read what they are sent."""
        for connection in tuple(connections):
            socket = self._engine.sockets.get(connection)
            if socket is not None and socket.queue.qsize() > MOST_UNSENT:
                _log.warning("socket_too_slow")
                await self.close(connection)

    async def _serve_websocket(self, upgraded: str, scope: Scope, receive: Receive, send: Send) -> None:
        if upgraded in self._paces:
            self._note(upgraded, scope)
        try:
            await self._engine.handle_request(scope, receive, send)
        except Exception as error:  # noqa: BLE001 (what the library cannot read; nothing of ours is called unguarded)
            _log.info("socket_refused", reason=type(error).__name__)
        finally:
            connection = scope.get(_CONNECTION)
            if connection is not None and self.is_open(connection):
                await self.close(connection)

    async def _take_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if length is None:
            await _refuse(scope, send, 411, b"send the length of the body")
            return
        if not length.isdigit() or int(length) > MAX_BYTES:
            await _refuse(scope, send, 413, b"a message may have %d bytes" % MAX_BYTES)
            return
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await self._engine.handle_request(scope, receive, send)
        except TimeoutError:
            if abort := (scope.get("extensions") or {}).get(ABORT):
                abort()

    async def _opened(self, connection: str, environ: dict[str, Any]) -> bool | None:
        if len(self._paces) >= MOST_CONNECTIONS:
            return False
        self._paces[connection] = Pace()
        self._note(connection, environ["asgi.scope"])
        asyncio.get_running_loop().call_later(CONNECT_SECONDS, self._expect_member, connection)
        await self._library["connect"](connection, environ)
        return None

    async def _received(self, connection: str, data: object) -> None:
        pace = self._paces.get(connection)
        if pace is None or not pace.is_kept(asyncio.get_running_loop().time()):
            await self._end(connection, "too fast")
        elif not isinstance(data, str) or data.startswith(_BINARY):
            await self._end(connection, "bytes")
        elif not data.startswith(_CONNECT) and not self._is_member(connection):
            await self._end(connection, "not connected")
        else:
            try:
                await self._library["message"](connection, data)
            except Exception:  # noqa: BLE001 (whatever the library says of what is no message)
                await self._end(connection, "no message")

    async def _closed(self, connection: str, reason: str) -> None:
        self._paces.pop(connection, None)
        self._aborts.pop(connection, None)
        await self._library["disconnect"](connection, reason)

    def _expect_member(self, connection: str) -> None:
        if connection in self._paces and not self._is_member(connection):
            self._spawn(self._end(connection, "no credential"))

    async def _end(self, connection: str, reason: str) -> None:
        _log.info("socket_refused", reason=reason)
        await self.close(connection)

    def _note(self, connection: str, scope: Scope) -> None:
        """Remember which WebSocket serves a connection, and how to cut it."""
        if scope["type"] != "websocket":
            return
        scope[_CONNECTION] = connection
        if abort := (scope.get("extensions") or {}).get(ABORT):
            self._aborts[connection] = abort


async def _refuse(scope: Scope, send: Send, status: int, text: bytes) -> None:
    kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": text})
