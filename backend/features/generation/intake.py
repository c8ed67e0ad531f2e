"""What happens to every request whatever its wire format: find the model, check it, note its use, open the answer."""

from backend.features.auth.context import CallContext
from backend.features.auth.principal import Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.generation.requirements import Verb, check_request, require_audio, require_vision
from backend.features.generation.service import GenerationService
from backend.llm.errors import ModelNotFound
from backend.llm.ports import Answer, Encoder
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    Embeddings,
    EmbedRequest,
    Transcription,
    TranscriptionRequest,
)


class Intake:
    """The way of a canonical request to its answer; every inbound format goes through here.

    `answer` and `find_embedder` with `embed` are all that most formats need. Ollama's own, which also loads and
    unloads and lets machines judge for themselves, takes the steps one by one.
    """

    def __init__(self, catalog: CatalogService, generation: GenerationService, recent: RecentModels) -> None:
        self._catalog = catalog
        self._generation = generation
        self._recent = recent

    async def answer(
        self, request: ChatRequest | CompletionRequest, context: CallContext, encoder: Encoder, verb: Verb = "chat"
    ) -> Answer:
        """Return the primed answer to a request for the model it names.

        Raises `GatewayError` when there is no such model for this caller, when it cannot do what is asked (`verb`
        names that in the refusal), or when its backend fails before the first byte.
        """
        model = await self.find(request.model, context.principal)
        return await self.answer_from(model, request, context, encoder, verb)

    async def answer_from(
        self,
        model: CatalogModel,
        request: ChatRequest | CompletionRequest,
        context: CallContext,
        encoder: Encoder,
        verb: Verb = "chat",
    ) -> Answer:
        """Return the primed answer of a model that was found before; as `answer`."""
        check_request(model, request, verb)
        keep_alive = request.keep_alive if isinstance(request, ChatRequest) else None
        return await self.open(model, request, context, encoder, keep_alive)

    async def find(self, name: str, principal: Principal) -> CatalogModel:
        """Return the model a caller names; see `CatalogService.resolve`."""
        return await self._catalog.resolve(name, principal)

    async def open(
        self,
        model: CatalogModel,
        request: ChatRequest | CompletionRequest,
        context: CallContext,
        encoder: Encoder,
        keep_alive: float | None = None,
    ) -> Answer:
        """Return the primed answer of a model whose abilities were checked; it counts as loaded from now on."""
        if isinstance(request, ChatRequest):
            require_vision(model, request)
        self.note_use(model, keep_alive)
        return await self._generation.open_answer(model, request, encoder, context)

    async def find_embedder(self, name: str, principal: Principal) -> CatalogModel:
        """Return the model a caller names, in the words that embedding routes have for an unknown one."""
        if not name:
            raise ModelNotFound("model '' not found")
        try:
            return await self.find(name, principal)
        except ModelNotFound:
            raise ModelNotFound(f'model "{name}" not found, try pulling it first') from None

    async def embed(self, model: CatalogModel, request: EmbedRequest, context: CallContext) -> Embeddings:
        """Return one vector per text, as the upstream gave them."""
        return await self._generation.embed(model, request, context)

    async def transcribe(self, request: TranscriptionRequest, context: CallContext) -> Transcription:
        """Return what was said, by the model the request names."""
        model = await self.find(request.model, context.principal)
        require_audio(model, request.model)
        self.note_use(model)
        return await self._generation.transcribe(model, request, context)

    def note_use(self, model: CatalogModel, keep_alive: float | None = None) -> None:
        """Let a hosted model count as loaded for a while."""
        self._recent.used(model, keep_alive)
