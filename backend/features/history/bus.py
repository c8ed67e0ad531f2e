"""Tells those who follow a chat what happens in it: a port, and what stands there when nobody can follow."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self


class Heard(Protocol):
    """Something that happened in a chat."""

    @property
    def name(self) -> str:
        """`message_created`, `message_delta`, `message_completed` or what else there may be."""
        ...

    @property
    def data(self) -> Mapping[str, Any]:
        """What JSON can say and nothing else."""
        ...


class ChatBus(Protocol):
    """Brings what happens to whoever follows; nothing here waits or fails, and nothing is kept for who comes later."""

    def is_watched(self, chat_id: uuid.UUID) -> bool:
        """Whether anybody may be following a chat; cheap, and may change in the middle of an answer."""
        ...

    def publish(self, chat_id: uuid.UUID, name: str, data: Mapping[str, Any]) -> None:
        """Tell whoever follows; those who are too slow lose deltas first."""
        ...

    def subscribe(self, chat_id: uuid.UUID) -> AbstractAsyncContextManager[AsyncIterator[Heard]]:
        """Follow a chat; whether the caller may read it was asked before.

        It ends when that is no longer sure: ask again, then subscribe again.
        """
        ...

    def evict(self, chat_id: uuid.UUID) -> None:
        """Let everybody who follows a chat be asked again whether they may: it is gone."""
        ...


class NoBus:
    """A `ChatBus` on which nothing is ever told."""

    def is_watched(self, chat_id: uuid.UUID) -> bool:  # noqa: ARG002 (nothing is)
        """Return that nobody follows."""
        return False

    def publish(self, chat_id: uuid.UUID, name: str, data: Mapping[str, Any]) -> None:
        """Tell nobody."""

    @contextlib.asynccontextmanager
    async def subscribe(self, chat_id: uuid.UUID) -> AsyncIterator[AsyncIterator[Heard]]:  # noqa: ARG002 (see above)
        """Hear nothing."""
        yield _Silence()

    def evict(self, chat_id: uuid.UUID) -> None:
        """Ask nobody."""


class _Silence:
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Heard:
        await asyncio.Event().wait()
        raise StopAsyncIteration
