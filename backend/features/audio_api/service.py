"""Transcriptions without HTTP: raw form in, the finished reply out."""

from backend.features.auth.principal import Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation import requirements
from backend.features.generation.service import GenerationService
from backend.wire.audio.inbound import read_transcription
from backend.wire.audio.replies import write_transcription
from backend.wire.multipart import read_form


class Transcriptions:
    """Writes down speech.

    Args:
        max_bytes: size of an audio file at most.
    """

    def __init__(
        self, catalog: CatalogService, generation: GenerationService, recent: RecentModels, *, max_bytes: int
    ) -> None:
        self._catalog = catalog
        self._generation = generation
        self._recent = recent
        self._max_bytes = max_bytes

    async def create(self, raw: bytes, principal: Principal, content_type: str) -> bytes | str:
        """Return the reply to `POST /v1/audio/transcriptions`: JSON as bytes, plain text as a string."""
        wanted = read_transcription(read_form(content_type, raw), self._max_bytes)
        name = wanted.request.model
        model = await self._catalog.resolve(name, principal)
        requirements.require_audio(model, name)
        self._recent.used(model)
        return write_transcription(await self._generation.transcribe(model, wanted.request), wanted.response_format)
