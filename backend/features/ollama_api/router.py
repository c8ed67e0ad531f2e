"""Ollama's native routes (`ollama-wire.md` 1); bodies are read by hand because Ollama ignores their Content-Type.

The busiest routes stand first: they are found by going through the list.
"""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.audit.deps import caller_of
from backend.features.auth.deps import CALLERS, EVERYBODY, context_of, principal_of
from backend.features.ollama_api.account import describe_caller, refuse_cloud, sign_out
from backend.features.ollama_api.deps import ollama_api
from backend.web.body import RequestPieces
from backend.web.lean_route import LeanRoute
from backend.web.openapi import json_body
from backend.web.replies import empty_response, json_response, text_response
from backend.web.streaming import respond
from backend.wire.jsontext import encode_json
from backend.wire.ollama.management import CopyBody, CreateBody, DeleteBody, PushBody
from backend.wire.ollama.replies import RECOMMENDATIONS, RUNNING, STATUS, VERSION
from backend.wire.ollama.schemas import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody, PullBody, ShowBody

_READ = ["GET", "HEAD"]

router = APIRouter(prefix="/api", tags=["ollama"], dependencies=[CALLERS], route_class=LeanRoute)
public = APIRouter(tags=["ollama"], dependencies=[EVERYBODY])


@router.post("/chat", openapi_extra=json_body(ChatBody))
async def chat(request: Request) -> Response:
    """Continue a conversation."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.chat, context=context_of(request)))


@router.post("/generate", openapi_extra=json_body(GenerateBody))
async def generate(request: Request) -> Response:
    """Continue a prompt or fill a gap."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.generate, context=context_of(request)))


@router.post("/embed", openapi_extra=json_body(EmbedBody))
async def embed(request: Request) -> Response:
    """Turn texts into vectors."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.embed, context=context_of(request)))


@router.post("/embeddings", openapi_extra=json_body(EmbeddingsBody))
async def embeddings(request: Request) -> Response:
    """Turn one text into a vector, the older way."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.inference.embeddings, context=context_of(request)))


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


@router.post("/create", openapi_extra=json_body(CreateBody))
async def create(request: Request) -> Response:
    """Make an agent, or a model on an Ollama machine."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.verbs.create, caller=caller_of(request)))


@router.post("/push", openapi_extra=json_body(PushBody))
async def push(request: Request) -> Response:
    """Publish an agent, or upload a model to its registry."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.verbs.push, caller=caller_of(request)))


@router.post("/copy", openapi_extra=json_body(CopyBody))
async def copy(request: Request) -> Response:
    """Make an agent of a model, or give a model a second name."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.verbs.copy, caller=caller_of(request)))


@router.delete("/delete", openapi_extra=json_body(DeleteBody))
async def delete(request: Request) -> Response:
    """Remove an agent or a model."""
    api = ollama_api(request)
    return await respond(request, api.limits, partial(api.verbs.delete, caller=caller_of(request)))


@router.head("/blobs/{digest}")  # noqa: FAST003 (read from the request)
async def find_blob(request: Request) -> Response:
    """Tell whether a file is stored."""
    is_there = await ollama_api(request).management.has_blob(request.path_params["digest"], principal_of(request))
    return empty_response(200 if is_there else 404)


@router.post("/blobs/{digest}")  # noqa: FAST003 (read from the request)
async def store_blob(request: Request) -> Response:
    """Store a file a model will be made of."""
    api = ollama_api(request)
    pieces = RequestPieces(request, api.blob_bytes)
    is_new = await api.management.put_blob(request.path_params["digest"], pieces, principal_of(request))
    return empty_response(201 if is_new else 200)


@router.post("/me")
async def me(request: Request) -> Response:
    """Tell clients who they are signed in as."""
    return json_response(describe_caller(principal_of(request)))


@router.post("/signout")
async def leave(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Tell clients that there is no session at ollama.com."""
    sign_out()


@router.delete("/user/keys/{key}")  # noqa: FAST003 (read from the request)
async def leave_by_key(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Sign out, the older way."""
    sign_out()


@router.post("/experimental/web_search")
async def web_search(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Refuse what is a service of ollama.com."""
    refuse_cloud("web search")


@router.post("/experimental/web_fetch")
async def web_fetch(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Refuse what is a service of ollama.com."""
    refuse_cloud("web fetch")


@router.get("/experimental/model-recommendations")
async def recommend(request: Request) -> Response:  # noqa: ARG001 (a lean route takes the request)
    """Recommend nothing."""
    return json_response(encode_json(RECOMMENDATIONS))


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
