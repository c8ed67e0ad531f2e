"""The transcription route: forms in, text out, by models that can hear."""

import json

import pytest

from backend.core.errors import GatewayError
from backend.features.audio_api.service import Transcriptions
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.llm.capabilities import Capability
from backend.llm.types import Segment, Transcription, TranscriptionRequest
from backend.wire.multipart import write_form
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ListOnly, ScriptedProvider, backend_of, info

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
MODELS = [info("hears", Capability.AUDIO), info("talks", Capability.COMPLETION)]
NO_SPEECH = "this backend cannot transcribe audio; choose a speech model of a Mistral or OpenAI-compatible backend"
GUESSED = info("whisper-like", Capability.COMPLETION, is_listed=False)


class Rig:
    """The route over a provider that can write down speech and one that can do nothing."""

    def __init__(self) -> None:
        self.hosted = ScriptedProvider(models=[*MODELS, GUESSED])
        backends = (backend_of(self.hosted, "cloud"), backend_of(ListOnly(info("mute", Capability.AUDIO)), "own", "x"))
        self.recent = RecentModels(ManualClock())
        generation = GenerationService(Admission(AdmissionLimits(1, 0)))
        self.service = Transcriptions(Intake(CatalogService(backends, 30), generation, self.recent), max_bytes=1_000)

    async def ask(self, *, audio: bytes = WAV, **fields: str) -> bytes | str:
        form = write_form(fields.items(), "speech.wav", "audio/wav", audio)
        return await self.service.create(form.data, CallContext(ANONYMOUS), form.content_type)

    async def refusal(self, *, audio: bytes = WAV, **fields: str) -> tuple[int, str]:
        with pytest.raises(GatewayError) as caught:
            await self.ask(audio=audio, **fields)
        assert self.hosted.requests == []
        return caught.value.status, caught.value.message


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_speech_becomes_text(rig: Rig) -> None:
    assert await rig.ask(model="Hears:latest") == b'{"text":"hello"}'
    assert rig.hosted.requests == [TranscriptionRequest("hears", WAV, "audio.wav", "audio/wav")]
    assert list(rig.recent.loaded()) == ["registry.ollama.ai/library/hears:latest"]


async def test_each_format_has_its_reply(rig: Rig) -> None:
    rig.hosted.heard = Transcription("hi", segments=(Segment(0, 1, "hi"),))
    assert await rig.ask(model="hears", response_format="text") == "hi"
    told = await rig.ask(model="hears", response_format="verbose_json")
    assert json.loads(told)["segments"][0]["text"] == "hi"


async def test_a_model_whose_server_tells_nothing_may_try(rig: Rig) -> None:
    assert await rig.ask(model="whisper-like") == b'{"text":"hello"}'


@pytest.mark.parametrize(
    ("model", "audio", "status", "text"),
    [
        ("", WAV, 400, "model is required"),
        ("nope", WAV, 404, "model 'nope' not found"),
        ("talks", WAV, 400, '"talks" does not support audio'),
        ("mute", WAV, 400, NO_SPEECH),
        ("hears", b"", 400, "audio file is empty"),
        ("hears", b"x" * 1_001, 413, "the audio file is over 1000 bytes; send a shorter one"),
    ],
)
async def test_each_refusal_has_its_status_and_words(
    rig: Rig, model: str, audio: bytes, status: int, text: str
) -> None:
    assert await rig.refusal(model=model, audio=audio) == (status, text)


async def test_what_is_no_form_is_refused(rig: Rig) -> None:
    with pytest.raises(GatewayError, match="multipart/form-data"):
        await rig.service.create(b"{}", CallContext(ANONYMOUS), "application/json")
