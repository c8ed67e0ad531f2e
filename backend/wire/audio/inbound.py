"""Turns the form of `POST /v1/audio/transcriptions` into a canonical request (`ollama-wire.md` 10.3)."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from backend.core.errors import InvalidRequest, PayloadTooLarge
from backend.llm.types import TranscriptionRequest
from backend.wire.multipart import Part

ResponseFormat = Literal["json", "text", "verbose_json"]
_FORMATS: dict[str, ResponseFormat] = {name: name for name in get_args(ResponseFormat)}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}", re.ASCII)
_GRANULARITIES = ("timestamp_granularities[]", "timestamp_granularities")
_MAX_TEMPERATURE = 2.0

_UNKNOWN = ("audio", "application/octet-stream")
_TYPES = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpeg": "audio/mpeg",
    "mpga": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
_SIGNATURES = ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\x1aE\xdf\xa3", "webm"))
_MP3_SYNC = 0xE0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form asks for."""

    request: TranscriptionRequest
    response_format: ResponseFormat


def read_transcription(parts: list[Part], max_bytes: int) -> Wanted:
    """Return what the form asks for; of fields with one name the first counts."""
    fields = {part.name: part.data.decode("utf-8", "replace") for part in reversed(parts) if part.filename is None}
    if not (model := fields.get("model", "").strip()):
        raise InvalidRequest("model is required")
    response_format = _read_format(fields.get("response_format", ""))
    if fields.get("stream", "").lower() in {"true", "1"}:
        raise InvalidRequest("streamed transcriptions are not supported; leave stream out")
    audio = _read_file(parts, max_bytes)
    filename, media_type = _kind_of(audio)
    return Wanted(
        TranscriptionRequest(
            model=model,
            audio=audio.data,
            filename=filename,
            media_type=media_type,
            language=_read_language(fields.get("language", "")),
            prompt=fields.get("prompt", ""),
            temperature=_read_temperature(fields.get("temperature", "")),
            with_segments=_wants_segments(parts, response_format),
        ),
        response_format,
    )


def _read_file(parts: list[Part], max_bytes: int) -> Part:
    file = next((part for part in parts if part.name == "file" and part.filename is not None), None)
    if file is None:
        raise InvalidRequest("file is required: send the audio as the file 'file' of the form")
    if not file.data:
        raise InvalidRequest("audio file is empty")
    if len(file.data) > max_bytes:
        raise PayloadTooLarge(f"the audio file is over {max_bytes} bytes; send a shorter one")
    return file


def _read_format(value: str) -> ResponseFormat:
    wanted = _FORMATS.get(value or "json")
    if wanted is None:
        raise InvalidRequest(f"response_format {value[:40]!r} is not supported; use json, text or verbose_json")
    return wanted


def _wants_segments(parts: list[Part], response_format: ResponseFormat) -> bool:
    wanted = {part.data for part in parts if part.name in _GRANULARITIES}
    if wanted - {b"segment"}:
        raise InvalidRequest("only timestamp_granularities of segment are supported")
    if wanted and response_format != "verbose_json":
        raise InvalidRequest("timestamp_granularities need the response_format verbose_json")
    return response_format == "verbose_json"


def _read_language(value: str) -> str:
    if value and not _LANGUAGE.fullmatch(value):
        raise InvalidRequest('language must be a code such as "en"')
    return value.lower()


def _read_temperature(value: str) -> float | None:
    if not value.strip():
        return None
    try:
        temperature = float(value)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= _MAX_TEMPERATURE:
        raise InvalidRequest(f"temperature must be a number from 0 to {_MAX_TEMPERATURE:g}")
    return temperature


def _kind_of(file: Part) -> tuple[str, str]:
    """Return a filename and a type of our own: by the first bytes, else by the ending of the caller's filename."""
    ending = _ending_of(file.data[:16]) or (file.filename or "").rpartition(".")[2].lower()
    return (f"audio.{ending}", _TYPES[ending]) if ending in _TYPES else _UNKNOWN


def _ending_of(head: bytes) -> str:
    for signature, ending in _SIGNATURES:
        if head.startswith(signature):
            return ending
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "m4a"
    is_mp3 = len(head) > 1 and head[0] == 0xFF and head[1] & _MP3_SYNC == _MP3_SYNC  # noqa: PLR2004 (the sync word)
    return "mp3" if is_mp3 else ""
