"""An open answer as bytes in the client's wire format; owns everything the answer holds.

It is settled before its last bytes are handed out: what a client was told is complete is kept already.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from backend.core.errors import GatewayError
from backend.features.generation.meter import Meter
from backend.features.generation.record import Outcome
from backend.features.generation.transcript import Transcript
from backend.llm.events import ChatEvent, Finished, Usage, token_count
from backend.llm.ports import Encoder, EventStream, LineStream

Settle = Callable[[Outcome, GatewayError | None], Awaitable[None]]


class _Primed(ABC):
    """What both kinds of answer share: the bytes read ahead, and settling once.

    Args:
        transcript: is given every piece, if somebody keeps the answer; its last piece then goes out by itself, so that
            no token waits until it is kept.
    """

    def __init__(
        self, encoder: Encoder, meter: Meter, settle: Settle, transcript: Transcript | None, *, is_streamed: bool
    ) -> None:
        self.content_type = encoder.content_type
        self.is_streamed = is_streamed
        self._encoder = encoder
        self._meter = meter
        self._settle: Settle | None = settle
        self._keep = None if transcript is None else transcript.append
        self._head = b""
        self.finished = False
        self._failure: GatewayError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """See `Answer.__anext__`."""
        if self._head:
            head, self._head = self._head, b""
            return head
        if self.finished:
            raise StopAsyncIteration
        try:
            return await self._read()
        except GatewayError as error:
            self._failure = error
            raise

    async def prime(self) -> None:
        """Read ahead until the first bytes for the client are there."""
        self._head = await self.__anext__()

    def encode_error(self, error: GatewayError) -> bytes:
        """See `Answer.encode_error`."""
        return self._encoder.encode_error(error)

    async def aclose(self) -> None:
        """See `Answer.aclose`."""
        try:
            await self._close()
        finally:
            await self._end("ok" if self.finished else "interrupted" if self._failure is None else "error")

    async def _end(self, outcome: Outcome) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            await settle(outcome, self._failure)

    @abstractmethod
    async def _read(self) -> bytes:
        """Return the next bytes for the client; set `finished` with the last."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the upstream."""


class EncodedAnswer(_Primed):
    """Events of a provider, written by an encoder."""

    def __init__(
        self,
        stream: EventStream,
        encoder: Encoder,
        meter: Meter,
        settle: Settle,
        transcript: Transcript | None = None,
        *,
        is_streamed: bool,
    ) -> None:
        super().__init__(encoder, meter, settle, transcript, is_streamed=is_streamed)
        self._stream = stream
        self._last: Sequence[ChatEvent] = ()

    async def _read(self) -> bytes:
        while not self._last:
            events = self._meter.observe(await self._stream.__anext__())
            if self._keep is not None:
                self._keep(events)
            if type(events[-1]) is Finished:
                self._last = events
            elif written := self._encoder.encode(events):
                return written
        if self._keep is not None and self.is_streamed and len(self._last) > 1:
            before, self._last = self._last[:-1], self._last[-1:]
            if written := self._encoder.encode(before):
                return written
        self.finished = True
        await self._end("ok")
        if written := self._encoder.encode(self._last):
            return written
        raise StopAsyncIteration

    async def _close(self) -> None:
        await self._stream.aclose()


class VerbatimAnswer(_Primed):
    """An upstream's own bytes, let through; the wire formats are the same and nothing is added."""

    def __init__(
        self,
        stream: LineStream,
        encoder: Encoder,
        meter: Meter,
        settle: Settle,
        transcript: Transcript | None = None,
        *,
        is_streamed: bool,
    ) -> None:
        super().__init__(encoder, meter, settle, transcript, is_streamed=is_streamed)
        self._stream = stream
        self._last = b""

    async def _read(self) -> bytes:
        if not self._last:
            lines = await self._stream.__anext__()
            self._meter.passed(lines)
            if self._keep is not None:
                self._keep(lines)
            if not self._stream.finished:
                return lines
            last = self._stream.last_line()
            self._meter.usage = Usage(token_count(last.get("prompt_eval_count")), token_count(last.get("eval_count")))
            self._last = lines
            begin = lines.rfind(b"\n", 0, -1) + 1
            if self._keep is not None and begin:
                self._last = lines[begin:]
                return lines[:begin]
        self.finished = True
        await self._end("ok")
        return self._last

    async def _close(self) -> None:
        await self._stream.aclose()
