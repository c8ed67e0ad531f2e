"""Builds everything that lives as long as the process, and closes it in reverse order."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.agents import open_index
from backend.bootstrap.backends import check_backends, open_backends
from backend.bootstrap.safety import accepted_keys, check_workers
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database, prepared
from backend.core.config import Settings
from backend.core.db.database import Database
from backend.features.accounts.deps import Accounts
from backend.features.agents.service import AgentService
from backend.features.audit.service import AuditLog
from backend.features.auth.service import Authenticator
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.agent_verbs import AgentVerbs
from backend.features.ollama_api.deps import OllamaApi
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.management import Management, ManagementRules
from backend.features.ollama_api.models import Models
from backend.features.openai_api.deps import OpenAIApi
from backend.features.openai_api.inference import Inference as OpenAIInference
from backend.features.openai_api.models import Models as OpenAIModels
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
    agents: AgentService
    ollama_api: OllamaApi
    openai_api: OpenAIApi


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
        index = await stack.enter_async_context(open_index(database))
        catalog = CatalogService(backends, settings.catalog.ttl_seconds, presets=index)
        stack.push_async_callback(catalog.aclose)
        bodies = _body_limits(settings)
        recent = RecentModels()
        generation = GenerationService(Admission(_admission_limits(settings)))
        intake = Intake(catalog, generation, recent)
        ollama = settings.ollama
        agents = AgentService(database, index, catalog, audit)
        management = Management(catalog, ManagementRules(ollama.manage, ollama.push, ollama.pull_hosts))
        yield Container(
            settings=settings,
            database=database,
            audit=audit,
            accounts=accounts,
            authenticator=Authenticator(keys, [accounts.sessions.access_tokens]),
            catalog=catalog,
            generation=generation,
            ollama_api=OllamaApi(
                Inference(intake),
                Models(catalog, recent, forward_pull=ollama.pull, pull_hosts=ollama.pull_hosts),
                management,
                AgentVerbs(catalog, agents, management),
                bodies,
                ollama.blob_bytes,
            ),
            agents=agents,
            openai_api=OpenAIApi(OpenAIInference(intake), OpenAIModels(catalog), bodies),
        )


def _body_limits(settings: Settings) -> BodyLimits:
    timeouts = settings.timeouts
    return BodyLimits(settings.limits.body_bytes, timeouts.body_seconds, timeouts.write_stall_seconds)


def _admission_limits(settings: Settings) -> AdmissionLimits:
    limits = settings.limits
    return AdmissionLimits(limits.concurrent_requests, limits.queued_requests, limits.queue_seconds)
