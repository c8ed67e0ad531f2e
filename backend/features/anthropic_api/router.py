"""The messages API (`ollama-wire.md` 10.4); the headers `anthropic-version` and `anthropic-beta` are not looked at."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.core.errors import GatewayError
from backend.features.anthropic_api.deps import anthropic_api
from backend.features.auth.deps import CALLERS, context_of
from backend.web.access import current_request_id
from backend.web.lean_route import LeanRoute
from backend.web.openapi import json_body
from backend.web.streaming import respond
from backend.wire.anthropic.errors import write_error
from backend.wire.anthropic.schemas import MessagesBody, PromptBody


def _write_error(error: GatewayError) -> bytes:
    return write_error(error, current_request_id())


class AnthropicRoute(LeanRoute):
    """A route whose errors have the shape that the clients of the messages API read."""

    write_error = staticmethod(_write_error)


router = APIRouter(prefix="/v1", tags=["anthropic"], dependencies=[CALLERS], route_class=AnthropicRoute)


@router.post("/messages", openapi_extra=json_body(MessagesBody))
async def create_message(request: Request) -> Response:
    """Continue a conversation."""
    api = anthropic_api(request)
    create = partial(api.messages.create, context=context_of(request))
    return await respond(request, api.limits, create)


@router.post("/messages/count_tokens", openapi_extra=json_body(PromptBody))
async def count_tokens(request: Request) -> Response:
    """Estimate how many tokens a conversation is."""
    api = anthropic_api(request)
    return await respond(request, api.limits, partial(api.messages.count_tokens, context=context_of(request)))
