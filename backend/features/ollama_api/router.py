"""Ollama's native routes (`ollama-wire.md` 1); bodies are read by hand because Ollama ignores their Content-Type."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.auth.deps import CALLERS, EVERYBODY
from backend.features.ollama_api.deps import InferenceDep, LimitsDep, ModelsDep
from backend.web.body import read_request_body
from backend.web.replies import json_response, text_response
from backend.web.streaming import respond
from backend.wire.jsontext import encode_json
from backend.wire.ollama.replies import RUNNING, STATUS, VERSION

_READ = ["GET", "HEAD"]

public = APIRouter(tags=["ollama"], dependencies=[EVERYBODY])
router = APIRouter(prefix="/api", tags=["ollama"], dependencies=[CALLERS])


@public.api_route("/", methods=_READ)
async def root() -> Response:
    """Say what every client of Ollama probes for."""
    return text_response(RUNNING, headers={"content-type": "text/plain; charset=utf-8"})


@public.api_route("/api/version", methods=_READ)
async def version() -> Response:
    """Tell the release of Ollama whose wire format this is."""
    return json_response(encode_json({"version": VERSION}))


@router.get("/status")
async def status() -> Response:
    """Tell clients that Ollama's own cloud is off here."""
    return json_response(encode_json(STATUS))


@router.api_route("/tags", methods=_READ)
async def tags(models: ModelsDep) -> Response:
    """List every model of every backend."""
    return json_response(await models.tags())


@router.post("/show")
async def show(request: Request, models: ModelsDep, limits: LimitsDep) -> Response:
    """Describe one model."""
    body = await read_request_body(request, limits)
    return json_response(await models.show(body, request.headers.get("user-agent", "")))


@router.get("/ps")
async def running(models: ModelsDep) -> Response:
    """List the models that are loaded."""
    return json_response(await models.running())


@router.post("/chat")
async def chat(request: Request, inference: InferenceDep, limits: LimitsDep) -> Response:
    """Continue a conversation."""
    return await respond(request, limits, inference.chat)


@router.post("/generate")
async def generate(request: Request, inference: InferenceDep, limits: LimitsDep) -> Response:
    """Continue a prompt or fill a gap."""
    return await respond(request, limits, inference.generate)


@router.post("/embed")
async def embed(request: Request, inference: InferenceDep, limits: LimitsDep) -> Response:
    """Turn texts into vectors."""
    return await respond(request, limits, inference.embed)


@router.post("/embeddings")
async def embeddings(request: Request, inference: InferenceDep, limits: LimitsDep) -> Response:
    """Turn one text into a vector, the older way."""
    return await respond(request, limits, inference.embeddings)


@router.post("/pull")
async def pull(request: Request, models: ModelsDep, limits: LimitsDep) -> Response:
    """Make a model available."""
    return await respond(request, limits, models.pull)
