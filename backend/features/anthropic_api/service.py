"""The messages API without HTTP: raw body in, an answer or a finished reply out."""

from dataclasses import replace

from backend.features.auth.context import CallContext
from backend.features.catalog.service import CatalogModel
from backend.features.generation.estimate import estimate_tokens
from backend.features.generation.intake import Intake
from backend.llm.capabilities import Capability
from backend.llm.ports import Answer, Encoder
from backend.llm.types import ChatRequest
from backend.wire.anthropic.encoders import EventEncoder, ObjectEncoder
from backend.wire.anthropic.inbound import read_messages, read_prompt
from backend.wire.anthropic.schemas import MessagesBody, PromptBody, read_body
from backend.wire.jsontext import encode_json


class Messages:
    """What the routes of the messages API do."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def create(self, raw: bytes, context: CallContext) -> Answer:
        """Return the answer to `POST /v1/messages`; the request's id goes into an error in mid-answer."""
        asked = read_messages(read_body(raw, MessagesBody))
        model = await self._intake.find(asked.model, context.principal)
        request = _without_vain_thinking(model, asked)
        encoder: Encoder
        if request.stream:
            encoder = EventEncoder(asked.model, estimate_tokens(request), context.request_id)
        else:
            encoder = ObjectEncoder(asked.model, context.request_id)
        return await self._intake.answer_from(model, request, context, encoder)

    async def count_tokens(self, raw: bytes, context: CallContext) -> bytes:
        """Return the reply to `POST /v1/messages/count_tokens`: an estimate, no upstream is asked."""
        request = read_prompt(read_body(raw, PromptBody))
        await self._intake.find(request.model, context.principal)
        return encode_json({"input_tokens": estimate_tokens(request)})


def _without_vain_thinking(model: CatalogModel, request: ChatRequest) -> ChatRequest:
    """Drop the wish to think where it cannot be fulfilled, as Ollama does here: Claude Code sends it to every model.

    An Ollama machine that does not list abilities would refuse it too; its thinking models think unless told not to.
    """
    is_unsure = model.backend.server is not None and not model.info.capabilities
    if request.thinking and (is_unsure or not model.can(Capability.THINKING)):
        return replace(request, thinking=None)
    return request
