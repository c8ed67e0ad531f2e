"""What is kept of requests, and who may refuse one: the port of the ledger, the quotas and the history.

Of every request the pipeline asks each recorder once, after it has a place and before an upstream is asked, and tells
each record once how it ended. Between the two nothing is asked, so that no token waits for a store.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.auth.context import CallContext
from backend.features.catalog.service import CatalogModel
from backend.features.generation.transcript import Transcript
from backend.llm.events import Usage
from backend.llm.grounding import Grounding
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest, TranscriptionRequest

_log = get_logger(__name__)

Outcome = Literal["ok", "error", "interrupted"]
NOTHING = Usage(0, 0)
AnyRequest = ChatRequest | CompletionRequest | EmbedRequest | TranscriptionRequest


@dataclass(slots=True)
class Asked:
    """A request that is about to be answered."""

    context: CallContext
    model: CatalogModel
    request: AnyRequest
    """As the caller sent it: a model of ours has not put anything before it."""
    estimate: Callable[[], int]
    """Guesses the tokens that the model will read, what is put before the request included."""
    transcript: Transcript
    """Will hold the answer to a conversation or completion, if a record wants it."""
    admission: "asyncio.Future[Any] | None" = None
    """A write of the recorder before, without whose acceptance nothing is to be written: see `GroupCommit.write`."""
    chat_id: uuid.UUID | None = None
    """The caller's chat that it continues or begins; the history fills it in, before a backend is asked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a request."""

    outcome: Outcome
    usage: Usage = NOTHING
    """Counted by the upstream, or estimated where it told nothing; nothing at all where none was asked."""
    backend: str = ""
    """The backend that answered; "" where it came to nothing before."""
    model_id: str = ""
    seconds: float = 0.0
    first_token_seconds: float | None = None
    error: str = ""
    """The sentence the caller was told."""
    grounding: Grounding | None = None
    """What the answer stands on, where knowledge was put before the question."""


class Record(Protocol):
    """What one recorder keeps of one request."""

    wants_text: bool
    """Whether `Asked.transcript` must be filled."""

    async def begun(self) -> None:
        """Wait until the request may be answered.

        Raises `GatewayError` when it must not be: over quota, or what must be kept cannot be.
        """
        ...

    def finish(self, answered: Answered) -> Awaitable[None] | None:
        """Keep how it ended; called once, also for a request that was not begun to the end.

        All that must happen is under way when this returns: whoever awaits the result only waits until it is safe in
        the store, and may be cancelled. None when there is nothing to wait for. A `GatewayError` of the result is this
        record's own business.
        """
        ...


class Recorder(Protocol):
    """Begins records."""

    def begin(self, asked: Asked) -> Record | None:
        """Keep that a request is being answered; None when there is nothing to keep.

        Only begins to write: all recorders do before anybody waits, so that one transaction takes what all of them
        write. Whoever may refuse in the store sets `Asked.admission` for those after it. Raises as `Record.begun`.
        """
        ...


class Records:
    """All records of one request."""

    __slots__ = ("_records", "wants_text")

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self._records = records
        self.wants_text = any(record.wants_text for record in records)

    @classmethod
    async def begin(cls, recorders: Sequence[Recorder], asked: Asked) -> "Records":
        """Ask the recorders; when one refuses, those that began are told so."""
        records: list[Record] = []
        try:
            records.extend(record for recorder in recorders if (record := recorder.begin(asked)) is not None)
            for record in records:
                await record.begun()
        except BaseException as error:
            await cls(records).finish(came_to_nothing(error))
            raise
        return cls(records)

    def __bool__(self) -> bool:
        return bool(self._records)

    async def finish(self, answered: Answered) -> None:
        """Tell all of them, once, then wait until all is safe; one that fails is logged and holds nobody up."""
        records, self._records = self._records, ()
        waits: list[Awaitable[None]] = []
        for record in records:
            try:
                wait = record.finish(answered)
            except Exception:  # noqa: BLE001 (see above)
                _log.exception("record_failed")
            else:
                if wait is not None:
                    waits.append(wait)
        for wait in waits:
            try:
                await wait
            except GatewayError:
                pass
            except Exception:  # noqa: BLE001 (see above)
                _log.exception("record_failed")


def came_to_nothing(error: BaseException, usage: Usage = NOTHING) -> Answered:
    """Return the end of a request that was never answered: it failed, or its caller left."""
    if isinstance(error, GatewayError):
        return Answered("error", usage, error=error.message)
    return Answered("interrupted" if not isinstance(error, Exception) else "error", usage)
