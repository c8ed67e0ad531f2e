"""Builds everything that lives as long as the process, and closes it in reverse order."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from backend.bootstrap.backends import check_backends, open_backends
from backend.bootstrap.safety import accepted_keys
from backend.core.config import Settings
from backend.features.audio_api.deps import FORM_BYTES, AudioApi
from backend.features.audio_api.service import Transcriptions
from backend.features.auth.service import Authenticator
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.deps import OllamaApi
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.models import Models
from backend.features.responses_api.deps import ResponsesApi
from backend.features.responses_api.service import Responses
from backend.providers.http import Upstream
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class Container:
    """The process-wide services, each built with what it needs; routes reach them through their `deps`."""

    settings: Settings
    authenticator: Authenticator
    catalog: CatalogService
    generation: GenerationService
    ollama_api: OllamaApi
    responses_api: ResponsesApi
    audio_api: AudioApi


@contextlib.asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[Container]:
    """Yield the container; the application, the command line and tests all get theirs here."""
    keys = accepted_keys(settings)
    check_backends(settings)
    async with contextlib.AsyncExitStack() as stack:

        def close_later(upstream: Upstream) -> None:
            stack.push_async_callback(upstream.aclose)

        backends = await open_backends(settings, close_later)
        catalog = CatalogService(backends, settings.catalog.ttl_seconds)
        stack.push_async_callback(catalog.aclose)
        limits = settings.limits
        generation = GenerationService(
            Admission(AdmissionLimits(limits.concurrent_requests, limits.queued_requests, limits.queue_seconds))
        )
        recent = RecentModels()
        bodies = BodyLimits(limits.body_bytes, settings.timeouts.body_seconds, settings.timeouts.write_stall_seconds)
        yield Container(
            settings=settings,
            authenticator=Authenticator(keys),
            catalog=catalog,
            generation=generation,
            ollama_api=OllamaApi(
                Inference(catalog, generation, recent),
                Models(catalog, recent, forward_pull=settings.ollama.pull, pull_hosts=settings.ollama.pull_hosts),
                bodies,
            ),
            responses_api=ResponsesApi(Responses(catalog, generation, recent), bodies),
            audio_api=AudioApi(
                Transcriptions(catalog, generation, recent, max_bytes=limits.audio_bytes),
                replace(bodies, body_bytes=limits.audio_bytes + FORM_BYTES),
            ),
        )
