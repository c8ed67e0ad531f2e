"""Open upstream answers, as events or as untouched lines; both own their connection."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from backend.llm.errors import ProviderError
from backend.llm.events import ChatEvent
from backend.providers.http import BodyReader
from backend.wire.decoder import Decoder
from backend.wire.ollama.upstream import LineTap


class DecodedStream:
    """An answer read through a decoder; implements `backend.llm.ports.EventStream`."""

    def __init__(self, reader: BodyReader, decoder: Decoder) -> None:
        self._reader = reader
        self._decoder = decoder
        self._has_started = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[ChatEvent]:
        """Return the next events; see the port."""
        decoder = self._decoder
        while True:
            if decoder.failure is not None:
                raise self._reader.cleaned(decoder.failure)
            if decoder.finished:
                raise StopAsyncIteration
            data = await self._reader.read()
            try:
                events = decoder.feed(data) if data else decoder.close()
            except ProviderError as error:
                raise self._reader.cleaned(error) from error
            if decoder.begun and not self._has_started:
                self._has_started = True
                self._reader.started()
            if events:
                return events

    async def aclose(self) -> None:
        """Close the connection, or give it back when the answer is complete."""
        await self._reader.aclose(complete=self._decoder.finished)


class TappedLines:
    """An answer let through untouched; implements `backend.llm.ports.LineStream`."""

    def __init__(self, reader: BodyReader, tap: LineTap) -> None:
        self._reader = reader
        self._tap = tap
        self._has_started = False
        self.content_type = reader.content_type

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next whole lines; see the port."""
        tap = self._tap
        while True:
            if tap.failure is not None:
                raise self._reader.cleaned(tap.failure)
            if tap.finished:
                raise StopAsyncIteration
            data = await self._reader.read()
            lines = tap.feed(data) if data else tap.close()
            if lines:
                if not self._has_started:
                    self._has_started = True
                    self._reader.started()
                return lines

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return self._tap.finished

    def last_line(self) -> Mapping[str, Any]:
        """Return the line that completed the answer."""
        return self._tap.last_line()

    async def aclose(self) -> None:
        """Close the connection, or give it back when the answer is complete."""
        await self._reader.aclose(complete=self._tap.finished)
