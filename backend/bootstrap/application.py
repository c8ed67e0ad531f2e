"""Settings -> the ASGI application."""

import contextlib
from collections.abc import AsyncIterator
from typing import TypedDict

from fastapi import FastAPI

from backend import __version__
from backend.bootstrap.accounts import announce_bootstrap, warn_when_open
from backend.bootstrap.container import Container, open_container
from backend.bootstrap.errors import install_error_handlers
from backend.bootstrap.safety import accepted_keys
from backend.bootstrap.sockets import BesideSockets
from backend.core.config import Settings
from backend.core.memory import settle_memory
from backend.features.accounts.admin_router import roles, users
from backend.features.accounts.oidc_router import router as accounts_oidc
from backend.features.accounts.router import public as accounts_public
from backend.features.accounts.router import router as accounts
from backend.features.admin.router import router as admin_backends
from backend.features.agents.router import administration as admin_agents
from backend.features.agents.router import router as agents
from backend.features.agents.router import sharing
from backend.features.anthropic_api.router import router as anthropic
from backend.features.audio_api.router import router as audio
from backend.features.audit.router import router as audit
from backend.features.auth.router import router as auth
from backend.features.health.router import router as health
from backend.features.history.router import router as history
from backend.features.keys.admin_router import router as admin_keys
from backend.features.keys.router import router as keys
from backend.features.knowledge.collection_router import administration as admin_collections
from backend.features.knowledge.collection_router import router as collections
from backend.features.knowledge.router import administration as admin_documents
from backend.features.knowledge.router import router as documents
from backend.features.knowledge.router import uploads
from backend.features.knowledge.search_router import router as knowledge_search
from backend.features.knowledge.vector_router import router as admin_vectors
from backend.features.memory.router import router as memories
from backend.features.ollama_api.router import public as ollama_public
from backend.features.ollama_api.router import router as ollama
from backend.features.openai_api.router import router as openai
from backend.features.responses_api.router import router as responses
from backend.features.usage.admin_router import router as admin_usage
from backend.features.usage.router import router as usage
from backend.web.access import AccessLog
from backend.web.openapi import DocumentedApplication
from backend.web.origins import OriginGuard
from backend.web.path_key import PathKey

ROUTERS = (
    ollama,
    openai,
    responses,
    anthropic,
    audio,
    ollama_public,
    health,
    auth,
    accounts_public,
    accounts_oidc,
    accounts,
    agents,
    history,
    sharing,
    keys,
    collections,
    uploads,
    documents,
    knowledge_search,
    memories,
    usage,
    users,
    roles,
    admin_agents,
    admin_keys,
    admin_collections,
    admin_documents,
    admin_vectors,
    admin_usage,
    audit,
    admin_backends,
)
"""Every router, each with its full prefix."""


class State(TypedDict):
    """What a request finds in its state."""

    container: Container


def build_application(settings: Settings) -> FastAPI:
    """Return the application; its container opens with the server and closes with it."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        async with open_container(settings) as container:
            container.catalog.start()
            container.running.start()
            container.knowledge.dispatcher.start()
            container.vectors.upkeep.start()
            await container.usage.housekeeping.start()
            await container.history.upkeep.begin()
            container.history.start()
            container.memories.start()
            if container.authenticator.requires_key:
                await announce_bootstrap(container.accounts)
            else:
                await warn_when_open(settings, container.accounts)
            settle_memory()
            yield {"container": container}

    app = DocumentedApplication(
        title="Passerelle",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def guard_application(application: FastAPI, settings: Settings) -> PathKey:
    """Return the application behind what stands before every request.

    From outside: the key in the path is taken out, the request is logged, web pages are checked, sockets are served.
    """
    is_open = accepted_keys(settings) is None
    beside = BesideSockets(application)
    guard = OriginGuard(beside, settings.cors_origins, check_host=is_open, hosts=settings.server.allowed_hosts)
    return PathKey(AccessLog(guard))
