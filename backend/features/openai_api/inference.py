"""Chat completions, text completions and embeddings as OpenAI's clients ask for them."""

from backend.features.auth.context import CallContext
from backend.features.generation.estimate import CHARACTERS_PER_TOKEN
from backend.features.generation.intake import Intake
from backend.features.generation.vectors import unit_vectors
from backend.llm.ports import Answer, Encoder
from backend.wire.openai import encoders, inbound
from backend.wire.openai.replies import embeddings_reply, write_vector
from backend.wire.openai.schemas import ChatBody, CompletionBody, EmbeddingsBody, read_body


class Inference:
    """OpenAI's inference routes, without HTTP: raw body in, an answer or a finished reply out."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def chat(self, raw: bytes, context: CallContext) -> Answer:
        """Return the answer to `POST /v1/chat/completions`."""
        body = read_body(raw, ChatBody)
        request = inbound.read_chat(body)
        heading = encoders.Heading.begin("chatcmpl", body.model)
        encoder: Encoder
        if body.stream:
            encoder = encoders.ChatStreamEncoder(heading, include_usage=body.stream_options.include_usage)
        else:
            encoder = encoders.ChatObjectEncoder(heading)
        return await self._intake.answer(request, context, encoder)

    async def completion(self, raw: bytes, context: CallContext) -> Answer:
        """Return the answer to `POST /v1/completions`."""
        body = read_body(raw, CompletionBody)
        request = inbound.read_completion(body)
        heading = encoders.Heading.begin("cmpl", body.model)
        encoder: Encoder
        if body.stream:
            encoder = encoders.CompletionStreamEncoder(heading, include_usage=body.stream_options.include_usage)
        else:
            encoder = encoders.CompletionObjectEncoder(heading)
        return await self._intake.answer(request, context, encoder, "generate")

    async def embeddings(self, raw: bytes, context: CallContext) -> bytes:
        """Return the reply to `POST /v1/embeddings`: vectors at length one, as Ollama's are, in the inputs' order."""
        body = read_body(raw, EmbeddingsBody)
        request = inbound.read_embed(body)
        model = await self._intake.find_embedder(body.model, context.principal)
        self._intake.note_use(model)
        done = await self._intake.embed(model, request, context)
        as_base64 = body.encoding_format.lower() == "base64"
        units = unit_vectors(done.vectors, request.dimensions)
        vectors = [write_vector(vector, as_base64=as_base64) async for vector in units]
        tokens = done.prompt_tokens or max(sum(map(len, request.inputs)) // CHARACTERS_PER_TOKEN, 1)
        return embeddings_reply(body.model, vectors, tokens)
