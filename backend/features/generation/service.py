"""The pipeline of a request: enrich, admit, record, augment, route, open upstream, prime, stream, settle."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from backend.core.clock import monotonic_ns
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.core.metrics import (
    ACTIVE,
    ANSWER_TIME,
    ANSWERS,
    AUTH_FAILURES,
    FIRST_TOKEN,
    TOKENS,
    UPSTREAM_ERRORS,
)
from backend.features.auth.context import CallContext
from backend.features.catalog.backends import Backend, Permit
from backend.features.catalog.service import Candidate, CatalogModel
from backend.features.generation.admission import Admission
from backend.features.generation.answer import EncodedAnswer, VerbatimAnswer
from backend.features.generation.augment import Augmented, Augmenter, GroundedStream
from backend.features.generation.enrich import enrich
from backend.features.generation.estimate import (
    CHARACTERS_PER_TOKEN,
    estimate_speech,
    estimate_tokens,
    prompt_characters,
)
from backend.features.generation.meter import Meter
from backend.features.generation.record import Answered, Asked, Outcome, Recorder, Records, came_to_nothing
from backend.features.generation.routing import RetryBudget, choose
from backend.features.generation.transcript import Transcript
from backend.llm.errors import ModelNotFound, ProviderAuthFailed, ProviderError, UnsupportedFeature
from backend.llm.events import Usage
from backend.llm.grounding import Grounding
from backend.llm.names import parse_name
from backend.llm.ports import Answer, Encoder, EventStream, LineStream
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    Embeddings,
    EmbedRequest,
    Transcription,
    TranscriptionRequest,
    WireSource,
)

_log = get_logger(__name__)

Result = TypeVar("Result")
Attempt = Callable[[Candidate, Records], Awaitable[Result]]

_NO_SPEECH = "this backend cannot transcribe audio; choose a speech model of a Mistral or OpenAI-compatible backend"


class GenerationService:
    """Turns requests for a known model into answers; the wire formats are the caller's business.

    Every method raises `GatewayError` before the first byte of an answer; later failures come out of the answer.

    Args:
        admission: the queue before everything.
        recorders: keep what is asked and answered, and may refuse it; asked in this order.
        augmenter: puts knowledge before conversations; None where there is none.
    """

    def __init__(
        self, admission: Admission, recorders: Sequence[Recorder] = (), augmenter: Augmenter | None = None
    ) -> None:
        self._admission = admission
        self._recorders = recorders
        self._augmenter = augmenter
        self._budget = RetryBudget()

    async def open_answer(
        self,
        model: CatalogModel,
        request: ChatRequest | CompletionRequest,
        encoder: Encoder,
        context: CallContext,
    ) -> Answer:
        """Return the primed answer to a conversation or a completion, written by `encoder`.

        A model of ours first puts its prompt and parameters before the request. Where the backend speaks the client's
        wire format and nothing was added to the request, its bytes are let through instead.
        """
        asked_for, request = request, enrich(request, model.preset)
        meter = Meter(monotonic_ns(), lambda: prompt_characters(request))
        asked = Asked(context, model, asked_for, lambda: estimate_tokens(request), Transcript())
        augmented: Augmented | None = None

        async def prepare() -> None:
            nonlocal request, augmented
            if self._augmenter is not None and isinstance(request, ChatRequest):
                augmented = await self._augmenter.augment(asked, request)
                request = request if augmented is None else augmented.request

        async def open_at(candidate: Candidate, records: Records) -> Answer:
            meter.sent()
            permit = candidate.backend.breaker.acquire()
            grounding = None if augmented is None else augmented.grounding
            settle = _Settling(candidate, meter, permit, self._admission.leave, records, grounding)
            transcript = asked.transcript if records.wants_text else None
            asked.transcript.clear()
            passthrough = candidate.backend.passthrough
            try:
                if request.source is not None and passthrough is not None:
                    source = _addressed(request.source, request.model, candidate.info.model_id)
                    lines = await passthrough.open_lines(source)
                    return await _prime(
                        VerbatimAnswer(lines, encoder, meter, settle.finish, transcript, is_streamed=_is_lines(lines)),
                        settle,
                    )
                events = await _open_stream(candidate.backend, replace(request, model=candidate.info.model_id))
                events = events if augmented is None else GroundedStream(events, augmented)
                return await _prime(
                    EncodedAnswer(events, encoder, meter, settle.finish, transcript, is_streamed=request.stream),
                    settle,
                )
            except BaseException as error:
                settle.failed_to_open(error)
                raise

        return await self._admitted(asked, open_at, meter, prepare)

    async def embed(
        self, model: CatalogModel, request: EmbedRequest, context: CallContext, *, has_place: bool = False
    ) -> Embeddings:
        """Return one vector per text, as the upstream gave them.

        Args:
            model: who makes them.
            request: the texts.
            context: who asks.
            has_place: whether this is part of a request that has its place in the queue: it must not wait for another.
        """

        async def embed_at(candidate: Candidate) -> Embeddings:
            if candidate.backend.embedder is None:
                raise UnsupportedFeature(f'"{request.model}" does not support embeddings')
            return await candidate.backend.embedder.embed(replace(request, model=candidate.info.model_id))

        def guess() -> int:
            return max(sum(map(len, request.inputs)) // CHARACTERS_PER_TOKEN, 1)

        def usage(done: Embeddings) -> Usage:
            return Usage(done.prompt_tokens or guess(), 0)

        asked = Asked(context, model, request, guess, Transcript())
        return await self._ask(asked, embed_at, usage, has_place=has_place)

    async def transcribe(
        self, model: CatalogModel, request: TranscriptionRequest, context: CallContext
    ) -> Transcription:
        """Return what was said."""

        async def transcribe_at(candidate: Candidate) -> Transcription:
            if candidate.backend.transcriber is None:
                raise UnsupportedFeature(_NO_SPEECH)
            return await candidate.backend.transcriber.transcribe(replace(request, model=candidate.info.model_id))

        def guess() -> int:
            return estimate_speech(request)

        def usage(done: Transcription) -> Usage:
            written = done.completion_tokens or len(done.text) // CHARACTERS_PER_TOKEN
            return Usage(done.prompt_tokens or guess(), written)

        return await self._ask(Asked(context, model, request, guess, Transcript()), transcribe_at, usage)

    async def _ask(
        self,
        asked: Asked,
        call: Callable[[Candidate], Awaitable[Result]],
        usage_of: Callable[[Result], Usage],
        *,
        has_place: bool = False,
    ) -> Result:
        """Run a call whose result comes in one piece, and settle it."""
        meter = Meter(monotonic_ns(), lambda: asked.estimate() * CHARACTERS_PER_TOKEN)

        async def call_at(candidate: Candidate, records: Records) -> Result:
            permit = candidate.backend.breaker.acquire()
            candidate.backend.in_flight += 1
            meter.sent()
            try:
                done = await call(candidate)
                permit.succeed()
            except ProviderError as error:
                _blame(candidate, permit, error)
                raise
            finally:
                permit.abandon()
                candidate.backend.in_flight -= 1
            usage, name = usage_of(done), candidate.backend.name
            _count_tokens(name, usage)
            await records.finish(Answered("ok", usage, name, candidate.info.model_id, meter.seconds))
            return done

        result = await self._admitted(asked, call_at, meter, has_place=has_place)
        if not has_place:
            self._admission.leave()
        return result

    async def _admitted(
        self,
        asked: Asked,
        attempt: "Attempt[Result]",
        meter: Meter,
        prepare: Callable[[], Awaitable[None]] | None = None,
        *,
        has_place: bool = False,
    ) -> Result:
        """Run `attempt` in a place of the queue, with one more try where that is safe; the place stays taken."""
        if not has_place:
            await self._admission.enter()
        records = Records()
        try:
            records = await Records.begin(self._recorders, asked)
            if prepare is not None:
                await prepare()
            return await self._try_twice(asked.model, asked.request.model, lambda at: attempt(at, records))
        except BaseException as error:
            if not has_place:
                self._admission.leave()
            await records.finish(came_to_nothing(error, meter.abandoned(error)))
            raise

    async def _try_twice(
        self, model: CatalogModel, requested: str, attempt: Callable[[Candidate], Awaitable[Result]]
    ) -> Result:
        candidate = choose(model)
        try:
            return await attempt(candidate)
        except ProviderError as error:
            if not await self._budget.wait(error, candidate, model.candidates):
                raise _in_callers_words(error, requested) from error
        try:
            return await attempt(choose(model, without=candidate))
        except ProviderError as error:
            raise _in_callers_words(error, requested) from error


def _is_lines(stream: LineStream) -> bool:
    """Whether the upstream streams: a request that only loads a model is answered by one object all the same."""
    return stream.content_type.startswith("application/x-ndjson")


def _addressed(source: WireSource, requested: str, model_id: str) -> WireSource:
    """Keep the caller's spelling of the model, which the reply echoes, where the upstream understands it."""
    wanted, known = parse_name(requested), parse_name(model_id)
    if wanted is not None and known is not None and wanted.key == known.key:
        return source
    return replace(source, body={**source.body, "model": model_id})


async def _open_stream(backend: Backend, request: ChatRequest | CompletionRequest) -> EventStream:
    if isinstance(request, CompletionRequest):
        if backend.completer is None:
            raise UnsupportedFeature("raw mode is not supported by this upstream")
        return await backend.completer.open_completion(request)
    if backend.chat is None:
        raise UnsupportedFeature(f'"{request.model}" does not support chat')
    return await backend.chat.open_chat(request)


async def _prime(answer: EncodedAnswer | VerbatimAnswer, settle: "_Settling") -> Answer:
    """Read the first bytes; close the upstream when that fails."""
    try:
        await answer.prime()
    except BaseException:
        settle.disown()
        await answer.aclose()
        raise
    settle.opened()
    return answer


class _Settling:
    """What is due when an answer ends: the place in the queue, the breaker, metrics and one line of log."""

    def __init__(
        self,
        candidate: Candidate,
        meter: Meter,
        permit: Permit,
        leave: Callable[[], None],
        records: Records,
        grounding: Grounding | None,
    ) -> None:
        self._candidate = candidate
        self._meter = meter
        self._permit = permit
        self._leave = leave
        self._records = records
        self._grounding = grounding
        self._is_open = True
        candidate.backend.in_flight += 1
        ACTIVE.inc()

    def opened(self) -> None:
        """The backend answers."""
        self._permit.succeed()

    def disown(self) -> None:
        """The answer failed before it began: `failed_to_open` settles instead."""
        self._is_open = False

    def failed_to_open(self, error: BaseException) -> None:
        """Settle a try that came to nothing; the place in the queue stays with the request."""
        self._is_open = False
        self._release()
        if isinstance(error, ProviderError):
            _blame(self._candidate, self._permit, error)
            ANSWERS.labels(self._candidate.backend.name, "error").inc()
        self._permit.abandon()

    async def finish(self, outcome: Outcome, error: GatewayError | None) -> None:
        """Settle an answer that began."""
        if not self._is_open:
            return
        self._is_open = False
        self._release()
        self._leave()
        backend, usage, seconds = self._candidate.backend.name, self._meter.settle(), self._meter.seconds
        ANSWERS.labels(backend, outcome).inc()
        ANSWER_TIME.labels(backend).observe(seconds)
        FIRST_TOKEN.labels(backend).observe(self._meter.first_token_seconds or 0)
        _count_tokens(backend, usage)
        _log.info(
            "answered",
            backend=backend,
            model=self._candidate.info.model_id,
            outcome=outcome,
            ms=round(seconds * 1000),
            first_token_ms=round((self._meter.first_token_seconds or 0) * 1000),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )
        model_id, told = self._candidate.info.model_id, "" if error is None else error.message
        first = self._meter.first_token_seconds
        await self._records.finish(Answered(outcome, usage, backend, model_id, seconds, first, told, self._grounding))

    def _release(self) -> None:
        self._candidate.backend.in_flight -= 1
        ACTIVE.dec()


def _count_tokens(backend: str, usage: Usage) -> None:
    TOKENS.labels(backend, "prompt").inc(usage.prompt_tokens or 0)
    TOKENS.labels(backend, "completion").inc(usage.completion_tokens or 0)


def _blame(candidate: Candidate, permit: Permit, error: ProviderError) -> None:
    name = candidate.backend.name
    UPSTREAM_ERRORS.labels(name, type(error).__name__).inc()
    if isinstance(error, ProviderAuthFailed):
        AUTH_FAILURES.labels(name).inc()
        _log.error("backend_refused_our_key", backend=name)
    if error.counts_against_backend:
        permit.fail()


def _in_callers_words(error: ProviderError, requested: str) -> ProviderError:
    """Name the model as the caller did; upstreams only know their own ids."""
    return ModelNotFound(f"model '{requested}' not found") if isinstance(error, ModelNotFound) else error
