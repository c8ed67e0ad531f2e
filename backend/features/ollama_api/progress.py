"""The progress of a download as an answer."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

from backend.core.errors import GatewayError
from backend.wire.jsontext import encode_json
from backend.wire.ollama.encoders import CONTENT_TYPE
from backend.wire.ollama.errors import write_error


class ProgressAnswer:
    """Progress objects as lines, or only the last one; implements `backend.llm.ports.Answer`.

    A failure after the first line is a last line and a proper end, as Ollama writes it: the download is over, nothing
    is missing.
    """

    def __init__(self, progress: AsyncIterator[Mapping[str, Any]], *, is_streamed: bool) -> None:
        self.content_type = CONTENT_TYPE
        self.finished = False
        self.is_streamed = is_streamed
        self._progress = progress
        self._head = b""

    async def prime(self) -> None:
        """Read the first line ahead, so that a download that cannot begin has its own status."""
        self._head = await self.__anext__() if not self.is_streamed else await self._line()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next line, or the whole reply."""
        if self._head:
            head, self._head = self._head, b""
            return head
        if self.finished:
            raise StopAsyncIteration
        if not self.is_streamed:
            return await self._last()
        try:
            return await self._line()
        except StopAsyncIteration:
            self.finished = True
            raise
        except GatewayError as error:
            self.finished = True
            return self.encode_error(error)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error as a line."""
        return write_error(error) + b"\n"

    async def aclose(self) -> None:
        """Stop the download."""
        if close := getattr(self._progress, "aclose", None):
            await close()

    async def _line(self) -> bytes:
        return encode_json(await anext(self._progress)) + b"\n"

    async def _last(self) -> bytes:
        last: Mapping[str, Any] = {}
        async for last in self._progress:  # noqa: B007 (the last one counts)
            pass
        self.finished = True
        return encode_json(last)
