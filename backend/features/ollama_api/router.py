"""Ollama's native routes (`ollama-wire.md` 1); bodies are read by hand because Ollama ignores their Content-Type.

The busiest routes stand first: they are found by going through the list.
"""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.auth.deps import CALLERS, EVERYBODY, principal_of
from backend.features.ollama_api.deps import ollama_api
from backend.web.lean_route import LeanRoute
from backend.web.openapi import json_body
from backend.web.replies import json_response, text_response
from backend.web.streaming import respond
from backend.wire.jsontext import encode_json
from backend.wire.ollama.replies import RUNNING, STATUS, VERSION
from backend.wire.ollama.schemas import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody, PullBody, ShowBody

_READ = ["GET", "HEAD"]

router = APIRouter(prefix="/api", tags=["ollama"], dependencies=[CALLERS], route_class=LeanRoute)
public = APIRouter(tags=["ollama"], dependencies=[EVERYBODY])


@router.post("/chat", openapi_extra=json_body(ChatBody))
async def chat(request: Request) -> Response:
    """Continue a conversation."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.chat, principal=principal_of(request)))


@router.post("/generate", openapi_extra=json_body(GenerateBody))
async def generate(request: Request) -> Response:
    """Continue a prompt or fill a gap."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.generate, principal=principal_of(request)))


@router.post("/embed", openapi_extra=json_body(EmbedBody))
async def embed(request: Request) -> Response:
    """Turn texts into vectors."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.embed, principal=principal_of(request)))


@router.post("/embeddings", openapi_extra=json_body(EmbeddingsBody))
async def embeddings(request: Request) -> Response:
    """Turn one text into a vector, the older way."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.embeddings, principal=principal_of(request)))


@router.api_route("/tags", methods=_READ)
async def tags(request: Request) -> Response:
    """List every model of every backend."""
    return json_response(await ollama_api(request).models.tags(principal_of(request)))


@router.get("/ps")
async def running(request: Request) -> Response:
    """List the models that are loaded."""
    return json_response(await ollama_api(request).models.running(principal_of(request)))


@router.post("/show", openapi_extra=json_body(ShowBody))
async def describe(request: Request) -> Response:
    """Describe one model."""
    api = ollama_api(request)
    show = partial(api.models.show, principal=principal_of(request), user_agent=request.headers.get("user-agent", ""))
    return await respond(request, api.limits, show)


@router.post("/pull", openapi_extra=json_body(PullBody))
async def pull(request: Request) -> Response:
    """Make a model available."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.models.pull, principal=principal_of(request)))


@router.get("/status")
async def status(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Tell clients that Ollama's own cloud is off here."""
    return json_response(encode_json(STATUS))


@public.api_route("/", methods=_READ)
async def root() -> Response:
    """Say what every client of Ollama probes for."""
    return text_response(RUNNING, headers={"content-type": "text/plain; charset=utf-8"})


@public.api_route("/api/version", methods=_READ)
async def version() -> Response:
    """Tell the release of Ollama whose wire format this is."""
    return json_response(encode_json({"version": VERSION}))
