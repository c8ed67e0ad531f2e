"""Builds everything that lives as long as the process, and closes it in reverse order."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.backends import check_backends, open_backends
from backend.bootstrap.safety import accepted_keys, check_workers
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database, prepared
from backend.core.config import Settings
from backend.core.db.database import Database
from backend.features.accounts.deps import Accounts
from backend.features.audit.service import AuditLog
from backend.features.auth.service import Authenticator
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
    database: Database
    audit: AuditLog
    accounts: Accounts
    authenticator: Authenticator
    catalog: CatalogService
    generation: GenerationService
    ollama_api: OllamaApi


@contextlib.asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[Container]:
    """Yield the container; the application, the command line and tests all get theirs here."""
    keys = accepted_keys(settings)
    check_backends(settings)
    check_workers(settings)
    key = signing_key(prepared(settings))
    async with contextlib.AsyncExitStack() as stack:

        def close_later(upstream: Upstream) -> None:
            stack.push_async_callback(upstream.aclose)

        database = await stack.enter_async_context(open_database(settings))
        audit = AuditLog(database)
        accounts = await open_accounts(settings, database, audit, key)
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
            database=database,
            audit=audit,
            accounts=accounts,
            authenticator=Authenticator(keys, [accounts.sessions.access_tokens]),
            catalog=catalog,
            generation=generation,
            ollama_api=OllamaApi(
                Inference(catalog, generation, recent),
                Models(catalog, recent, forward_pull=settings.ollama.pull, pull_hosts=settings.ollama.pull_hosts),
                BodyLimits(limits.body_bytes, settings.timeouts.body_seconds, settings.timeouts.write_stall_seconds),
            ),
        )
