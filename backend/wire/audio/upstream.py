"""Asks Mistral and OpenAI-compatible servers for transcriptions, and reads what they reply."""

import math

import msgspec

from backend.llm.errors import ProviderProtocolError
from backend.llm.events import token_count
from backend.llm.types import Segment, Transcription, TranscriptionRequest
from backend.wire.jsontext import UNREADABLE
from backend.wire.multipart import Form, write_form

PATH = "/v1/audio/transcriptions"
_DAY_SECONDS = 86_400.0


def write_mistral(request: TranscriptionRequest) -> Form:
    """Return the form for Mistral, which has no prompt and refuses a language together with timestamps."""
    fields = [("model", request.model)]
    if request.with_segments:
        fields.append(("timestamp_granularities", "segment"))
    elif request.language:
        fields.append(("language", request.language))
    return _write(request, fields)


def write_openai(request: TranscriptionRequest) -> Form:
    """Return the form for OpenAI-compatible servers, which tell segments only in their long reply."""
    fields = [("model", request.model), ("response_format", "verbose_json" if request.with_segments else "json")]
    if request.with_segments:
        fields.append(("timestamp_granularities[]", "segment"))
    fields += [(name, value) for name, value in (("language", request.language), ("prompt", request.prompt)) if value]
    return _write(request, fields)


def _write(request: TranscriptionRequest, fields: list[tuple[str, str]]) -> Form:
    if request.temperature is not None:
        fields.append(("temperature", f"{request.temperature:g}"))
    return write_form(fields, request.filename, request.media_type, request.audio)


class _Segment(msgspec.Struct):
    text: str
    start: float
    end: float


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None
    prompt_audio_seconds: int | float | None = None


class _Reply(msgspec.Struct):
    text: str
    language: str | None = None
    duration: float | str | None = None
    segments: list[_Segment] | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


def read_transcription(body: bytes, backend: str) -> Transcription:
    """Return what was said."""
    try:
        reply = _decode(body)
    except UNREADABLE as error:
        raise ProviderProtocolError(f"backend {backend!r} sent an unreadable transcription") from error
    usage = reply.usage or _Usage()
    duration = usage.prompt_audio_seconds if reply.duration is None else reply.duration
    return Transcription(
        text=reply.text,
        language=reply.language or "",
        seconds=_seconds(duration),
        segments=tuple(Segment(part.start, part.end, part.text) for part in reply.segments or ()),
        prompt_tokens=token_count(usage.prompt_tokens) or 0,
        completion_tokens=token_count(usage.completion_tokens) or 0,
    )


def _seconds(value: float | str | None) -> float | None:
    """Return a duration, which some servers send as text; None for what cannot be one."""
    try:
        seconds = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _DAY_SECONDS else None
