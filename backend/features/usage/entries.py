"""A request as the ledger knows it while it runs, and how it ends."""

import uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from backend.core.ids import new_id

Whose = Literal["key", "user"]

MAX_TOKENS = 10**12
"""More than any request has; keeps sums in range whatever an upstream says."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota that a request counts for."""

    subject: str
    """Names its windows, see `QuotaWindow.subject`."""
    tokens: int
    """What may be used in a day."""
    whose: Whose = "key"


@dataclass(slots=True)
class Entry:
    """A request that has begun."""

    at: datetime
    kind: str
    model: str
    user_id: uuid.UUID | None = None
    key_id: str | None = None
    agent_id: str | None = None
    request_id: str = ""
    estimate: int = 0
    reserved: int = 0
    limits: tuple[Limit, ...] = ()
    of_account: bool = False
    id: uuid.UUID = field(default_factory=new_id)

    @property
    def day(self) -> date:
        """The window of the quotas: the day in UTC on which it began."""
        return self.at.date()

    def anonymise(self) -> None:
        """Forget whose it is: the account was erased meanwhile."""
        self.user_id, self.key_id, self.agent_id, self.request_id, self.of_account = None, None, None, "", False


@dataclass(frozen=True, slots=True)
class Begin:
    """A request to be written down as open, and held back in its quotas."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Refusal:
    """The quota that has no room for a request, as it stood."""

    limit: Limit
    spent: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The end of a request; takes effect once, and again after a request was given up as lost."""

    entry: Entry
    status: str
    prompt_tokens: int
    completion_tokens: int
    finished_at: datetime
    backend: str = ""
    backend_model: str = ""
    cost: int | None = None
    currency: str = ""
    ms: int | None = None
    first_token_ms: int | None = None
    is_written: bool = False
    """Whether the beginning is known to be in the store."""
    may_insert: bool = False
    """Whether the request is written whole where its beginning could not be."""

    @property
    def tokens(self) -> int:
        """What is charged."""
        return self.prompt_tokens + self.completion_tokens
