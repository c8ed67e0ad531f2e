"""Sockets (Socket.IO) that listen to topics: who may connect, what they hear, and when they are cut.

A socket belongs to an account. Its credential comes in the `auth` payload or in a header, is checked when it connects,
every minute, and at once when its account changes in this process. It hears of a topic from inside its room, as
`chat:<id>`, which it enters by `join_chat` when its user may read the chat, and is put out of when they may not any
more. Events between processes go over the live bus, so the library's rooms are those of this process.

The library takes 12 MiB and a third of a second, so it is loaded, outside the loop, when the first socket comes.
"""

import asyncio
import contextlib
import importlib
import uuid
from collections.abc import Coroutine
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from backend.core.errors import GatewayError, InvalidRequest, NotAuthenticated, StoreUnavailable
from backend.core.logging import get_logger, silent_logger
from backend.features.auth.running import RunningCalls
from backend.features.auth.service import Authenticator
from backend.features.live.bus import MemoryBus
from backend.features.live.commands import EVENTS, Commands
from backend.features.live.connections import MAX_BYTES, Connections
from backend.features.live.credentials import owner_of, scope_of
from backend.features.live.events import LiveEvent, Readers, Topic
from backend.features.live.members import Member, Members
from backend.features.live.shared_bus import SharedBus

LOOK_SECONDS = 60.0
_ENDED = "your access was ended; log in again, or ask whoever runs the gateway"
_log = get_logger(__name__)


class LiveSockets:
    """The ASGI application of the sockets, and an `Order` of the bus.

    Args:
        authenticator: knows whose a credential is.
        running: tells when an account may call no more.
        bus: where events come from.
        readers: know who may read what.
        look_seconds: how often credentials and rooms are looked over.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        running: RunningCalls,
        bus: MemoryBus | SharedBus,
        readers: Readers,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._authenticator = authenticator
        self._running = running
        self._look_seconds = look_seconds
        self._members = Members()
        self._feed = bus.open_feed()
        self._commands = Commands(self._members, self, self._feed, bus, readers, authenticator, self._track)
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: type[Exception] = Exception
        self.server: Any = None
        """The library's server; None until the first socket comes."""
        self.connections: Connections | None = None
        bus.obey(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of a socket, or one WebSocket for as long as it is open."""
        await (await self._open()).serve(scope, receive, send)

    async def aclose(self) -> None:
        """Stop; the server has closed the connections."""
        self._feed.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.server is not None and self.server.eio.service_task_event is not None:
            await self.server.shutdown()

    async def enter(self, sid: str, topic: Topic) -> None:
        """Put a socket into the room of a topic."""
        await self.server.enter_room(sid, str(topic))

    async def leave(self, sid: str, topic: Topic) -> None:
        """Take it out again."""
        await self.server.leave_room(sid, str(topic))

    def look_again(self, topic: Topic) -> None:
        """Put out who may not read a topic any more."""
        self._commands.rights_changed()
        for one in self._members.concerned(topic):
            self._spawn(self._look_again(one))

    def disconnect(self, user_id: uuid.UUID) -> None:
        """Cut the sockets of a user."""
        for member in self._members.of_user(user_id):
            self._cut(member, NotAuthenticated(_ENDED))

    async def _open(self) -> Connections:
        async with self._opening:
            if self.connections is None:
                library: Any = await asyncio.to_thread(importlib.import_module, "socketio")
                self.connections = self._build(library)
                self._spawn(self._tell())
                self._spawn(self._keep_looking())
        return self.connections

    def _build(self, library: Any) -> Connections:
        # The library would log whole messages, and a traceback for whatever a stranger sends.
        silent = silent_logger()
        self.server = library.AsyncServer(
            async_mode="asgi",
            async_handlers=False,  # one after the other: what a socket asks for next waits in the network
            cors_allowed_origins=[],  # the origin is checked in front of everything
            cors_credentials=False,
            http_compression=False,
            max_http_buffer_size=MAX_BYTES,
            logger=silent,
            engineio_logger=silent,
        )
        self._refused = library.exceptions.ConnectionRefusedError
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)
        for name in EVENTS:
            self.server.on(name, partial(self._commands.answer, name))
        self.server.on("*", _refuse)
        return Connections(self.server.eio, self._is_member, self._spawn)

    def _is_member(self, connection: str) -> bool:
        sid = self.server.manager.sid_from_eio_sid(connection, "/")
        return sid is not None and self._members.find(sid) is not None

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        connection = self.server.manager.eio_sid_from_sid(sid, "/")
        try:
            scope = scope_of(environ["asgi.scope"], auth)
            principal = await self._authenticator.authenticate(scope)
            user_id = owner_of(principal)
            if self.connections is None or not self.connections.is_open(connection):
                raise NotAuthenticated(_ENDED)
            member = Member(sid, connection, principal, scope, user_id)
            self._members.add(member)
        except GatewayError as error:
            raise self._refused(error.message) from None
        self._track(member)

    async def _disconnect(self, sid: str, _reason: str) -> None:
        self._commands.forget(sid)

    def _track(self, member: Member) -> None:
        member.untrack()
        member.untrack = self._running.track(member.principal, partial(self._cut, member))

    def _cut(self, member: Member, error: GatewayError) -> None:
        self._spawn(self._end(member, error.message))

    async def _end(self, member: Member, sentence: str) -> None:
        """Tell a socket why, and close it."""
        if self._commands.forget(member.sid) is None or self.connections is None:
            return
        await self.server.emit("ended", {"error": sentence}, to=member.sid)
        await self.server.disconnect(member.sid)
        await self.connections.close(member.connection)

    async def _look_again(self, topic: Topic) -> None:
        for member in await self._commands.look_again(topic):
            await self._tell_left(member, topic)

    async def _tell_left(self, member: Member, topic: Topic) -> None:
        told = {topic.field: str(topic.id), "error": f"you may not read this {topic.kind} any more"}
        await self.server.emit(f"left_{topic.kind}", told, to=member.sid)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            for member in self._members:
                try:
                    await self._look_over(member)
                except Exception:  # noqa: BLE001 (the others are looked over all the same)
                    _log.exception("socket_not_looked_over")

    async def _look_over(self, member: Member) -> None:
        """Check a socket's credential and rooms once more; while the store is away it stays as it is."""
        if self.connections is not None and not self.connections.is_open(member.connection):
            self._commands.forget(member.sid)
            return
        try:
            principal = await self._authenticator.identify(member.scope)
        except StoreUnavailable:
            return
        except (NotAuthenticated, InvalidRequest) as error:
            await self._end(member, error.message)
            return
        if principal.user_id != member.user_id:
            await self._end(member, _ENDED)
            return
        member.principal = principal
        for topic in await self._commands.look_over(member):
            await self._tell_left(member, topic)

    async def _tell(self) -> None:
        """Pass on what the bus brings to the rooms."""
        async for event in self._feed:
            try:
                await self._tell_one(event)
            except Exception:  # noqa: BLE001 (one bad event is not the end of all)
                _log.exception("live_event_not_told", name=event.name)

    async def _tell_one(self, event: LiveEvent) -> None:
        room = str(event.topic)
        if self.connections is not None:
            await self.connections.drop_slow(eio for _, eio in self.server.manager.get_participants("/", room))
        data = {event.topic.field: str(event.topic.id), **event.data}
        await self.server.emit(event.name, data, room=room, skip_sid=event.origin or None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="live sockets")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                _log.error("socket_work_failed_unexpectedly", reason=type(error).__name__)


async def _refuse(*_event: object) -> dict[str, object]:
    """Answer an event that there is not."""
    return {"error": f"there is no such event; there are {', '.join(EVENTS)}"}
