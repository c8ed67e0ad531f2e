"""The bodies of the routes of use."""

import uuid
from datetime import date, datetime

from pydantic import Field

from backend.features.usage.entries import MAX_TOKENS
from backend.web.side_api import Body, PageReply, Reply


class SumsRead(Reply):
    """What requests used together."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: str = Field(description="A decimal number in the report's currency, without the requests below.")
    unpriced_requests: int = Field(description="Requests whose model has no price in this currency.")


class GroupRead(SumsRead):
    """The sums of one day, model, agent, key or user."""

    group: str = Field(description='The day, model or id; "" for requests that have none.')
    label: str = Field(description="How people know it: an agent's or key's name, a user's email.")


class QuotaState(Reply):
    """How a quota of tokens a day stands."""

    limit: int
    spent: int
    reserved: int = Field(description="Held back for requests under way.")
    resets_at: datetime


class UsageReport(PageReply[GroupRead]):
    """What was used from one day to another, in sums and in groups."""

    since: date
    until: date
    currency: str
    totals: SumsRead


class OwnUsageReport(UsageReport):
    """What an account used, and what it may still use today."""

    quota: QuotaState | None = Field(description="The account's; null when it has none.")
    key_quota: QuotaState | None = Field(description="That of the key that asks; null when it has none.")


class QuotaWrite(Body):
    """A quota of one user."""

    tokens_per_day: int | None = Field(ge=0, le=MAX_TOKENS, description="Null for any number, 0 for none at all.")


class QuotaRead(Reply):
    """What a user may use in a day, and how that stands."""

    user_id: uuid.UUID
    tokens_per_day: int | None = Field(description="Null means any number.")
    is_default: bool = Field(description="Whether it is what every user has.")
    quota: QuotaState | None
