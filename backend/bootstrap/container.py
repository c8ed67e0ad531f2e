"""Builds everything that lives as long as the process, and closes it in reverse order."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from backend.bootstrap.agents import open_index
from backend.bootstrap.backends import check_backends, open_backends
from backend.bootstrap.ground import open_ground
from backend.bootstrap.history import open_history, with_sending
from backend.bootstrap.library import open_library
from backend.bootstrap.memory import open_memories
from backend.bootstrap.redis import Shared
from backend.bootstrap.retrieval import build_retrieval
from backend.bootstrap.safety import accepted_keys, check_login_provider, check_workers, registered_public_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.sockets import open_sockets
from backend.bootstrap.store import prepared
from backend.bootstrap.usage import open_usage
from backend.bootstrap.vectors import Vectors
from backend.core.config import OllamaSettings, Settings
from backend.core.db.database import Database
from backend.core.db.group_commit import GroupCommit
from backend.features.accounts.deps import Accounts
from backend.features.agents.service import AgentService
from backend.features.anthropic_api.deps import AnthropicApi
from backend.features.anthropic_api.service import Messages
from backend.features.audio_api.deps import FORM_BYTES, AudioApi
from backend.features.audio_api.service import Transcriptions
from backend.features.audit.service import AuditLog
from backend.features.auth.identities import Identities
from backend.features.auth.principal import Permission
from backend.features.auth.rates import RequestRates
from backend.features.auth.router import CONNECT
from backend.features.auth.running import RunningCalls
from backend.features.auth.service import Authenticator
from backend.features.auth.stores import SettingsIdentities, SettingsKeys
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.record import Recorder
from backend.features.generation.service import GenerationService
from backend.features.history.deps import History
from backend.features.keys.deps import Keys
from backend.features.knowledge.augmenter import KnowledgeAugmenter
from backend.features.knowledge.deps import Knowledge
from backend.features.knowledge.retrieval import Retrieval
from backend.features.live.bus import LiveBus
from backend.features.live.sockets import LiveSockets
from backend.features.memory.augmenter import MemoryAugmenter
from backend.features.memory.deps import Memories
from backend.features.ollama_api.agent_verbs import AgentVerbs
from backend.features.ollama_api.deps import OllamaApi
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.management import Management, ManagementRules
from backend.features.ollama_api.models import Models
from backend.features.openai_api.deps import OpenAIApi
from backend.features.openai_api.inference import Inference as OpenAIInference
from backend.features.openai_api.models import Models as OpenAIModels
from backend.features.responses_api.deps import ResponsesApi
from backend.features.responses_api.service import Responses
from backend.features.usage.deps import Usage
from backend.providers.http import Upstream
from backend.web.body import BodyLimits


@dataclass(frozen=True, slots=True)
class Container:
    """The process-wide services, each built with what it needs; routes reach them through their `deps`."""

    settings: Settings
    database: Database
    commits: GroupCommit
    audit: AuditLog
    accounts: Accounts
    keys: Keys
    authenticator: Authenticator
    running: RunningCalls
    bus: LiveBus
    sockets: LiveSockets
    catalog: CatalogService
    generation: GenerationService
    retrieval: Retrieval
    usage: Usage
    agents: AgentService
    history: History
    knowledge: Knowledge
    vectors: Vectors
    memories: Memories
    ollama_api: OllamaApi
    anthropic_api: AnthropicApi
    openai_api: OpenAIApi
    responses_api: ResponsesApi
    audio_api: AudioApi


@contextlib.asynccontextmanager
async def open_container(settings: Settings) -> AsyncIterator[Container]:
    """Yield the container; the application, the command line and tests all get theirs here."""
    accepted = _checked(settings)
    async with contextlib.AsyncExitStack() as stack:
        close_later = _closing(stack)
        ground = await open_ground(stack, settings, signing_key(prepared(settings)))
        backends = await open_backends(settings, close_later)
        index = await stack.enter_async_context(open_index(ground.database))
        ground.accounts.users.tell(index.changed)
        catalog = CatalogService(backends, settings.catalog.ttl_seconds, presets=index)
        stack.push_async_callback(catalog.aclose)
        bodies, recent = _body_limits(settings), RecentModels()
        usage = await stack.enter_async_context(open_usage(settings, ground.database, ground.commits, ground.audit))
        history = await stack.enter_async_context(open_history(settings, ground.database, ground.commits, ground.bus))
        retrieval = build_retrieval(settings, ground.database, close_later)
        memories = await stack.enter_async_context(open_memories(settings, ground, history))
        documents = KnowledgeAugmenter(ground.database, retrieval, history.service.find)
        generation = _generation(settings, usage, history, memories, documents)
        intake = Intake(catalog, generation, recent)
        library = await open_library(stack, settings, ground, history.service, retrieval, catalog, generation)
        memories.use_vectors(library.vectors.searched, library.vectors.is_ours)
        agents = AgentService(ground.database, index, catalog, ground.audit)
        authenticator = _build_authenticator(settings, accepted, ground.accounts, ground.keys, ground.shared)
        hall = open_sockets(authenticator, ground.running, ground.bus, library.readers(history.service))
        yield Container(
            settings=settings,
            database=ground.database,
            commits=ground.commits,
            audit=ground.audit,
            accounts=ground.accounts,
            keys=ground.keys,
            authenticator=authenticator,
            running=ground.running,
            bus=ground.bus,
            sockets=await stack.enter_async_context(hall),
            catalog=catalog,
            generation=generation,
            retrieval=retrieval,
            usage=usage,
            ollama_api=_ollama_api(settings.ollama, intake, catalog, recent, agents, bodies),
            agents=agents,
            history=with_sending(history, intake, agents),
            knowledge=library.knowledge,
            vectors=library.vectors,
            memories=memories,
            responses_api=ResponsesApi(Responses(intake), bodies),
            audio_api=_audio_api(intake, bodies, settings.limits.audio_bytes),
            anthropic_api=AnthropicApi(Messages(intake), bodies),
            openai_api=OpenAIApi(OpenAIInference(intake), OpenAIModels(catalog), bodies),
        )


def _closing(stack: contextlib.AsyncExitStack) -> Callable[[Upstream], None]:
    """Return what has the stack close an upstream."""

    def close_later(upstream: Upstream) -> None:
        stack.push_async_callback(upstream.aclose)

    return close_later


def _checked(settings: Settings) -> Mapping[str, frozenset[Permission]] | None:
    """Return which keys of the settings are accepted; raise `ConfigurationError` for what cannot work together."""
    accepted = accepted_keys(settings)
    check_backends(settings)
    check_workers(settings)
    check_login_provider(settings)
    return accepted


def _build_authenticator(
    settings: Settings,
    accepted: Mapping[str, frozenset[Permission]] | None,
    accounts: Accounts,
    keys: Keys,
    shared: Shared,
) -> Authenticator:
    public_url = settings.server.public_url
    identities = Identities(
        (SettingsIdentities(registered_public_keys(settings)), keys.identities),
        tolerance_seconds=settings.timeouts.signature_seconds,
        connect_page=None if public_url is None else public_url + CONNECT,
        now=time.time,
        signatures=shared.signatures,
    )
    stores = (SettingsKeys(accepted or {}), keys.store, accounts.sessions.access_tokens)
    requests = RequestRates(shared.windows)
    return Authenticator(stores, identities, requests, forwarded=accounts.forwarded, is_open=accepted is None)


def _ollama_api(
    settings: OllamaSettings,
    intake: Intake,
    catalog: CatalogService,
    recent: RecentModels,
    agents: AgentService,
    bodies: BodyLimits,
) -> OllamaApi:
    management = Management(catalog, ManagementRules(settings.manage, settings.push, settings.pull_hosts))
    return OllamaApi(
        Inference(intake),
        Models(catalog, recent, forward_pull=settings.pull, pull_hosts=settings.pull_hosts),
        management,
        AgentVerbs(catalog, agents, management),
        bodies,
        settings.blob_bytes,
    )


def _audio_api(intake: Intake, bodies: BodyLimits, max_bytes: int) -> AudioApi:
    return AudioApi(Transcriptions(intake, max_bytes=max_bytes), replace(bodies, body_bytes=max_bytes + FORM_BYTES))


def _generation(
    settings: Settings, usage: Usage, history: History, memories: Memories, documents: KnowledgeAugmenter
) -> GenerationService:
    """Return the pipeline; the history finds out whose chat a request is in, so memory is asked after it."""
    recorders: tuple[Recorder, ...] = (usage.recorder, *history.recorders, *memories.recorders)
    augmenter = MemoryAugmenter(documents, memories.recall, history.switches)
    return GenerationService(Admission(_admission_limits(settings)), recorders, augmenter=augmenter)


def _body_limits(settings: Settings) -> BodyLimits:
    timeouts = settings.timeouts
    return BodyLimits(settings.limits.body_bytes, timeouts.body_seconds, timeouts.write_stall_seconds)


def _admission_limits(settings: Settings) -> AdmissionLimits:
    limits = settings.limits
    return AdmissionLimits(limits.concurrent_requests, limits.queued_requests, limits.queue_seconds)
