"""An open answer as bytes in the client's wire format; owns everything the answer holds."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Literal, Self

from backend.core.errors import GatewayError
from backend.features.generation.meter import Meter
from backend.llm.events import Finished, Usage, token_count
from backend.llm.ports import Encoder, EventStream, LineStream

Outcome = Literal["ok", "error", "interrupted"]
Settle = Callable[[Outcome], Awaitable[None]]


class _Primed(ABC):
    """What both kinds of answer share: the bytes read ahead, and settling once."""

    def __init__(self, settle: Settle, content_type: str, *, is_streamed: bool) -> None:
        self.content_type = content_type
        self.is_streamed = is_streamed
        self._settle: Settle | None = settle
        self._head = b""
        self.finished = False
        self.failed = False

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Return the next bytes for the client."""

    async def prime(self) -> None:
        """Read ahead until the first bytes for the client are there."""
        self._head = await self.__anext__()

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    async def _close(self, stream: EventStream | LineStream) -> None:
        settle, self._settle = self._settle, None
        try:
            await stream.aclose()
        finally:
            if settle is not None:
                await settle("error" if self.failed else "ok" if self.finished else "interrupted")


class EncodedAnswer(_Primed):
    """Events of a provider, written by an encoder."""

    def __init__(
        self, stream: EventStream, encoder: Encoder, meter: Meter, settle: Settle, *, is_streamed: bool
    ) -> None:
        super().__init__(settle, encoder.content_type, is_streamed=is_streamed)
        self._stream = stream
        self._encoder = encoder
        self._meter = meter

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
        if self._head:
            return self._take_head()
        try:
            while not self.finished:
                events = self._meter.observe(await self._stream.__anext__())
                self.finished = type(events[-1]) is Finished
                if written := self._encoder.encode(events):
                    return written
        except GatewayError:
            self.failed = True
            raise
        raise StopAsyncIteration

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Answer.encode_error`."""
        return self._encoder.encode_error(error)

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        await self._close(self._stream)


class VerbatimAnswer(_Primed):
    """An upstream's own bytes, let through; the wire formats are the same and nothing is added."""

    def __init__(
        self, stream: LineStream, encoder: Encoder, meter: Meter, settle: Settle, *, is_streamed: bool
    ) -> None:
        super().__init__(settle, encoder.content_type, is_streamed=is_streamed)
        self._stream = stream
        self._encoder = encoder
        self._meter = meter

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
        if self._head:
            return self._take_head()
        if self.finished:
            raise StopAsyncIteration
        try:
            lines = await self._stream.__anext__()
        except GatewayError:
            self.failed = True
            raise
        self._meter.began()
        if self._stream.finished:
            self.finished = True
            last = self._stream.last_line()
            self._meter.usage = Usage(token_count(last.get("prompt_eval_count")), token_count(last.get("eval_count")))
        return lines

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Answer.encode_error`."""
        return self._encoder.encode_error(error)

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        await self._close(self._stream)
