"""Builds everything that lives as long as the process, and closes it in reverse order."""

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from backend.bootstrap.backends import check_backends, open_backends
from backend.bootstrap.safety import accepted_keys, registered_public_keys
from backend.core.config import Settings
from backend.features.auth.identities import Identities
from backend.features.auth.router import CONNECT
from backend.features.auth.service import Authenticator
from backend.features.auth.stores import SettingsIdentities, SettingsKeys
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.deps import OllamaApi
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.models import Models
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


@contextlib.asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[Container]:
    """Yield the container; the application, the command line and tests all get theirs here."""
    authenticator = _build_authenticator(settings)
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
        yield Container(
            settings=settings,
            authenticator=authenticator,
            catalog=catalog,
            generation=generation,
            ollama_api=OllamaApi(
                Inference(catalog, generation, recent),
                Models(catalog, recent, forward_pull=settings.ollama.pull, pull_hosts=settings.ollama.pull_hosts),
                BodyLimits(limits.body_bytes, settings.timeouts.body_seconds, settings.timeouts.write_stall_seconds),
            ),
        )


def _build_authenticator(settings: Settings) -> Authenticator:
    keys = accepted_keys(settings)
    if keys is None:
        return Authenticator(None)
    public_url = settings.server.public_url
    identities = Identities(
        SettingsIdentities(registered_public_keys(settings)),
        tolerance_seconds=settings.timeouts.signature_seconds,
        connect_page=None if public_url is None else public_url + CONNECT,
        now=time.time,
    )
    return Authenticator(SettingsKeys(keys), identities)
