"""The Responses route without HTTP: raw body in, an answer out."""

import time
from collections.abc import Callable
from uuid import uuid4

from backend.core.errors import InvalidRequest
from backend.features.auth.principal import Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation import requirements
from backend.features.generation.service import GenerationService
from backend.llm.ports import Answer
from backend.wire.responses.encoders import EventEncoder, ObjectEncoder, ReplyHead
from backend.wire.responses.inbound import read_names, read_request
from backend.wire.responses.schemas import read_body


class Responses:
    """Answers Responses requests; keeps nothing between them."""

    def __init__(
        self,
        catalog: CatalogService,
        generation: GenerationService,
        recent: RecentModels,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._generation = generation
        self._recent = recent
        self._clock = clock

    async def create(self, raw: bytes, principal: Principal) -> Answer:
        """Return the answer to `POST /v1/responses`."""
        body = read_body(raw)
        if not body.model:
            raise InvalidRequest("model is required")
        request = read_request(body)
        model = await self._catalog.resolve(body.model, principal)
        requirements.check_chat(model, request, body.model)
        head = ReplyHead(body, read_names(body), uuid4().hex, int(self._clock()))
        self._recent.used(model)
        return await self._generation.open_answer(
            model, request, EventEncoder(head) if body.stream else ObjectEncoder(head)
        )
