"""Writes chats out: as JSON that holds everything, or as Markdown for people."""

from collections.abc import AsyncIterator, Sequence
from typing import Self

from backend.core.errors import GatewayError
from backend.features.history.models import Chat, StoredMessage
from backend.features.history.schemas import ChatExport, ChatRead, MessageRead
from backend.features.history.service import Exported
from backend.wire.jsontext import encode_json

_SPEAKERS = {"user": "You", "assistant": "Answer", "tool": "Tool"}


def to_json(chat: Chat, messages: Sequence[StoredMessage]) -> bytes:
    """Return a chat as one line of JSON."""
    head = ChatRead.model_validate(chat).model_dump()
    whole = ChatExport(**head, messages=[MessageRead.model_validate(message) for message in messages])
    return whole.model_dump_json().encode()


def to_markdown(chat: Chat, messages: Sequence[StoredMessage]) -> bytes:
    """Return a chat as Markdown; what a text holds stays as it is."""
    parts = [f"# {' '.join(chat.title.split()) or 'Chat'}\n\n{chat.created_at:%Y-%m-%d %H:%M} UTC, {chat.model}\n"]
    for message in messages:
        cut = "" if message.status == "complete" else f" ({message.status})"
        calls = "".join(f"\nCalls `{call.get('name', '')}`\n" for call in message.tool_calls)
        parts.append(f"## {_SPEAKERS.get(message.role, message.role)}{cut}\n\n{message.content}\n{calls}")
    return "\n".join(parts).encode()


class AllChats:
    """Implements `Answer`: chats as lines of JSON, a few read at a time, then lines of something else."""

    content_type = "application/x-ndjson"
    is_streamed = True

    def __init__(self, chats: AsyncIterator[Sequence[Exported]], further: AsyncIterator[bytes]) -> None:
        self.finished = False
        self._pieces = _pieces(chats, further)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
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


async def _pieces(chats: AsyncIterator[Sequence[Exported]], further: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for some in chats:
        yield b"".join(to_json(chat, messages) + b"\n" for chat, messages in some)
    async for lines in further:
        yield lines
