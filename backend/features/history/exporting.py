"""Writes chats out: as JSON that holds everything, or as Markdown for people."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, Self

from backend.core.errors import GatewayError
from backend.features.history.schemas import ChatRead, MessageRead
from backend.features.history.service import Piece
from backend.wire.jsontext import encode_json

_ENOUGH = 2**16
"""Bytes that go out together."""
_SPEAKERS = {"user": "You", "assistant": "Answer", "tool": "Tool"}


class Writer(Protocol):
    """Writes chats in one form, a piece at a time; the pieces of one chat follow each other."""

    content_type: str

    def write(self, piece: Piece) -> bytes:
        """Return a piece of a chat as it goes out."""
        ...


class JsonWriter:
    """Writes each chat as one line of JSON.

    Args:
        content_type: what the whole is called.
        end: what ends each chat.
    """

    def __init__(self, content_type: str = "application/x-ndjson", end: bytes = b"\n") -> None:
        self.content_type = content_type
        self._end = end
        self._between = b""
        """What stands before the next message of the chat; nothing where a chat begins."""

    def write(self, piece: Piece) -> bytes:
        """See `Writer.write`."""
        parts: list[bytes] = []
        if not self._between:
            head = ChatRead.model_validate(piece.chat).model_dump_json().encode()
            parts.append(head.removesuffix(b"}") + b',"messages":')
            self._between = b"["
        for message in piece.messages:
            parts += (self._between, MessageRead.model_validate(message).model_dump_json().encode())
            self._between = b","
        if piece.is_last:
            parts += (b"[" if self._between == b"[" else b"", b"]}", self._end)
            self._between = b""
        return b"".join(parts)


class MarkdownWriter:
    """Writes a chat for people to read; what a text holds stays as it is."""

    content_type = "text/markdown; charset=utf-8"

    def __init__(self) -> None:
        self._is_begun = False

    def write(self, piece: Piece) -> bytes:
        """See `Writer.write`."""
        chat, parts = piece.chat, []
        if not self._is_begun:
            title = " ".join(chat.title.split()) or "Chat"
            parts.append(f"# {title}\n\n{chat.created_at:%Y-%m-%d %H:%M} UTC, {chat.model}\n")
        for message in piece.messages:
            cut = "" if message.status == "complete" else f" ({message.status})"
            calls = "".join(f"\nCalls `{call.get('name', '')}`\n" for call in message.tool_calls)
            parts.append(f"\n## {_SPEAKERS.get(message.role, message.role)}{cut}\n\n{message.content}\n{calls}")
        self._is_begun = not piece.is_last
        return "".join(parts).encode()


class Export:
    """Implements `Answer`: pieces of chats as a writer writes them, then lines of something else."""

    is_streamed = True

    def __init__(
        self, pieces: AsyncIterator[Piece], writer: Writer, further: AsyncIterator[bytes] | None = None
    ) -> None:
        self.content_type = writer.content_type
        self.finished = False
        self._head = b""
        self._pieces = _written(pieces, writer, further)

    async def prime(self) -> "Export":
        """Read the beginning, so that a store that does not answer is told with its own status."""
        self._head = await anext(self._pieces, b"")
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
        if self._head:
            head, self._head = self._head, b""
            return head
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self.finished = True
            raise

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Answer.encode_error`."""
        return encode_json({"detail": error.message}) + b"\n"

    async def aclose(self) -> None:
        """See `Answer.aclose`."""


async def _written(
    pieces: AsyncIterator[Piece], writer: Writer, further: AsyncIterator[bytes] | None
) -> AsyncIterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    async for piece in pieces:
        waiting.append(writer.write(piece))
        size += len(waiting[-1])
        if size >= _ENOUGH:
            yield b"".join(waiting)
            waiting, size = [], 0
        await asyncio.sleep(0)  # writing takes its time, and others stream
    if waiting:
        yield b"".join(waiting)
    if further is not None:
        async for lines in further:
            yield lines
