"""Tells what answers say while they run: read from their transcripts now and then, never per token.

One task looks after all running answers. While none of their chats is watched it only asks that, twice a second.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Mapping
from typing import Any

from backend.core.logging import get_logger
from backend.features.generation.transcript import Transcript
from backend.features.live.bus import LiveBus
from backend.features.live.events import LiveEvent, Topic

_log = get_logger(__name__)

DELTA_SECONDS = 0.05
_LOOK_SECONDS = 0.5


class Running:
    """An answer that is under way."""

    __slots__ = ("_transcript", "message_id", "told", "topic")

    def __init__(self, chat_id: uuid.UUID, message_id: uuid.UUID, transcript: Transcript) -> None:
        self.topic = Topic.chat(chat_id)
        self.message_id = message_id
        self.told = 0
        self._transcript = transcript

    def news(self) -> dict[str, Any] | None:
        """Return what was said since the last time, or None."""
        length = self._transcript.length
        if length < self.told:
            self.told = 0  # another backend is asked
        if length == self.told:
            return None
        said, self.told = self._transcript.read(self.told), length
        if not said.text and not said.thinking:
            return None
        return {"message_id": str(self.message_id), "content": said.text, "thinking": said.thinking}


class Teller:
    """Publishes the deltas of running answers whose chats are watched."""

    def __init__(self, bus: LiveBus) -> None:
        self._bus = bus
        self._running: dict[uuid.UUID, Running] = {}
        self._has_work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run(), name="tell of running answers")

    async def aclose(self) -> None:
        """Stop telling."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @property
    def running(self) -> int:
        """How many answers run."""
        return len(self._running)

    def begin(self, running: Running, turns: list[dict[str, Any]]) -> None:
        """Tell what was asked, and from now on what is answered."""
        self._running[running.message_id] = running
        self._has_work.set()
        if self._bus.is_watched(running.topic):
            answer = {"message_id": str(running.message_id), "role": "assistant", "content": "", "status": "pending"}
            for turn in (*turns, answer):
                self._bus.publish(LiveEvent(running.topic, "message_created", turn))

    def end(self, message_id: uuid.UUID, values: Mapping[str, Any]) -> None:
        """Tell how an answer ended."""
        running = self._running.pop(message_id, None)
        if running is not None and self._bus.is_watched(running.topic):
            names = ("content", "thinking", "tool_calls", "status", "error", "prompt_tokens", "completion_tokens", "ms")
            told = {"message_id": str(message_id), **{name: values[name] for name in names}}
            self._bus.publish(LiveEvent(running.topic, "message_completed", told))

    async def _run(self) -> None:
        while True:
            if not self._running:
                self._has_work.clear()
                await self._has_work.wait()
            try:
                is_watched = self._tell()
            except Exception:  # noqa: BLE001 (telling goes on)
                _log.exception("not_told_unexpectedly")
                is_watched = False
            await asyncio.sleep(DELTA_SECONDS if is_watched else _LOOK_SECONDS)

    def _tell(self) -> bool:
        watched = [running for running in self._running.values() if self._bus.is_watched(running.topic)]
        for running in watched:
            if (news := running.news()) is not None:
                self._bus.publish(LiveEvent(running.topic, "message_delta", news))
        return bool(watched)
