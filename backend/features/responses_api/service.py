"""The Responses route without HTTP: raw body in, an answer out."""

import time
from collections.abc import Callable
from uuid import uuid4

from backend.core.errors import InvalidRequest
from backend.features.auth.context import CallContext
from backend.features.generation.intake import Intake
from backend.llm.ports import Answer, Encoder
from backend.wire.responses.encoders import EventEncoder, ObjectEncoder, ReplyHead
from backend.wire.responses.inbound import read_names, read_request
from backend.wire.responses.schemas import read_body


class Responses:
    """Answers Responses requests; keeps nothing between them."""

    def __init__(self, intake: Intake, clock: Callable[[], float] = time.time) -> None:
        self._intake = intake
        self._clock = clock

    async def create(self, raw: bytes, context: CallContext) -> Answer:
        """Return the answer to `POST /v1/responses`."""
        body = read_body(raw)
        if not body.model:
            raise InvalidRequest("model is required")
        request = read_request(body)
        head = ReplyHead(body, read_names(body), uuid4().hex, int(self._clock()))
        encoder: Encoder = EventEncoder(head) if body.stream else ObjectEncoder(head)
        return await self._intake.answer(request, context, encoder)
