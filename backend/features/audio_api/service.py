"""Transcriptions without HTTP: raw form in, the finished reply out."""

from backend.features.auth.context import CallContext
from backend.features.generation.intake import Intake
from backend.wire.audio.inbound import read_transcription
from backend.wire.audio.replies import write_transcription
from backend.wire.multipart import read_form


class Transcriptions:
    """Writes down speech.

    Args:
        max_bytes: size of an audio file at most.
    """

    def __init__(self, intake: Intake, *, max_bytes: int) -> None:
        self._intake = intake
        self._max_bytes = max_bytes

    async def create(self, raw: bytes, context: CallContext, content_type: str) -> bytes | str:
        """Return the reply to `POST /v1/audio/transcriptions`: JSON as bytes, plain text as a string."""
        wanted = read_transcription(read_form(content_type, raw), self._max_bytes)
        return write_transcription(await self._intake.transcribe(wanted.request, context), wanted.response_format)
