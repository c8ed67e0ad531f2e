"""OpenAI's routes as Ollama serves them (`ollama-wire.md` 10); errors have OpenAI's shape."""

from functools import partial

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from backend.features.auth.deps import CALLERS, context_of, principal_of
from backend.features.openai_api.deps import openai_api
from backend.web.lean_route import LeanRoute
from backend.web.openapi import json_body
from backend.web.replies import json_response
from backend.web.streaming import respond
from backend.wire.openai.error_reply import write_error
from backend.wire.openai.schemas import ChatBody, CompletionBody, EmbeddingsBody


class OpenAIRoute(LeanRoute):
    """A lean route whose errors are written as OpenAI's."""

    write_error = staticmethod(write_error)


router = APIRouter(tags=["openai"], dependencies=[CALLERS], route_class=OpenAIRoute)


@router.post("/v1/chat/completions", openapi_extra=json_body(ChatBody))
@router.post("/chat/completions", openapi_extra=json_body(ChatBody))
async def chat(request: Request) -> Response:
    """Continue a conversation; the path without `/v1` is what some editors ask an Ollama server for."""
    api = openai_api(request)
    return await respond(request, api.limits, partial(api.inference.chat, context=context_of(request)))


@router.post("/v1/completions", openapi_extra=json_body(CompletionBody))
async def completion(request: Request) -> Response:
    """Continue a prompt or fill a gap."""
    api = openai_api(request)
    return await respond(request, api.limits, partial(api.inference.completion, context=context_of(request)))


@router.post("/v1/embeddings", openapi_extra=json_body(EmbeddingsBody))
async def embeddings(request: Request) -> Response:
    """Turn texts into vectors."""
    api = openai_api(request)
    return await respond(request, api.limits, partial(api.inference.embeddings, context=context_of(request)))


@router.get("/v1/models")
async def models(request: Request) -> Response:
    """List every model of every backend."""
    return json_response(await openai_api(request).models.list(principal_of(request)))


@router.get("/v1/models/{name:path}")  # noqa: FAST003 (a lean route reads its path itself)
async def model(request: Request) -> Response:
    """Name one model; its name may hold slashes."""
    name = request.path_params["name"]
    if not name or name.endswith("/"):
        raise HTTPException(404)  # a slash too many, which is redirected away
    return json_response(await openai_api(request).models.one(name, principal_of(request)))
