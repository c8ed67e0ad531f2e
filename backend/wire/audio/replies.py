"""Writes transcriptions as OpenAI's clients read them."""

from backend.llm.types import Transcription
from backend.wire.audio.inbound import ResponseFormat
from backend.wire.jsontext import encode_json


def write_transcription(done: Transcription, response_format: ResponseFormat) -> bytes | str:
    """Return the reply: JSON as bytes, plain text as a string."""
    if response_format == "text":
        return done.text
    if response_format == "json":
        return encode_json({"text": done.text})
    last = done.segments[-1].end if done.segments else 0.0
    return encode_json(
        {
            "task": "transcribe",
            "language": done.language,
            "duration": last if done.seconds is None else done.seconds,
            "text": done.text,
            "segments": [
                {"id": index, "seek": 0, "start": part.start, "end": part.end, "text": part.text}
                for index, part in enumerate(done.segments)
            ],
        }
    )
