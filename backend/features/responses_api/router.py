"""`POST /v1/responses` (`ollama-wire.md` 10.3)."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.features.auth.deps import CALLERS, context_of
from backend.features.responses_api.deps import responses_api
from backend.web.lean_route import LeanRoute
from backend.web.openapi import json_body
from backend.web.streaming import respond
from backend.wire.openai.error_reply import write_error
from backend.wire.responses.schemas import ResponsesBody


class _Route(LeanRoute):
    """Errors as OpenAI writes them."""

    write_error = staticmethod(write_error)


router = APIRouter(prefix="/v1", tags=["openai"], dependencies=[CALLERS], route_class=_Route)


@router.post("/responses", openapi_extra=json_body(ResponsesBody))
async def create_response(request: Request) -> Response:
    """Continue a conversation, told as items."""
    api = responses_api(request)
    return await respond(request, api.limits, partial(api.responses.create, context=context_of(request)))
