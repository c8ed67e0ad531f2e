"""`POST /v1/audio/transcriptions` (`ollama-wire.md` 10.3)."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.audio_api.deps import audio_api
from backend.features.auth.deps import CALLERS, context_of
from backend.web.lean_route import LeanRoute
from backend.web.streaming import respond
from backend.wire.openai.error_reply import write_error

_TEXT = {"type": "string"}
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["model", "file"],
    "properties": {
        "model": _TEXT,
        "file": {"type": "string", "format": "binary"},
        "language": _TEXT,
        "prompt": _TEXT,
        "response_format": {"enum": ["json", "text", "verbose_json"]},
        "temperature": {"type": "number"},
        "timestamp_granularities[]": {"type": "array", "items": {"enum": ["segment"]}},
    },
}


class _Route(LeanRoute):
    """Errors as OpenAI writes them."""

    write_error = staticmethod(write_error)


router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[CALLERS], route_class=_Route)


@router.post(
    "/audio/transcriptions",
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def transcribe(request: Request) -> Response:
    """Write down speech."""
    api = audio_api(request)
    content_type = request.headers.get("content-type", "")
    create = partial(api.transcriptions.create, context=context_of(request), content_type=content_type)
    return await respond(request, api.limits, create)
