"""Settings of the ledger of use, of prices and of quotas."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, StringConstraints

from backend.core.config_types import Group

_Amount = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=16)]


class PriceSettings(Group):
    """What a million tokens of a model cost."""

    input: _Amount = Field(description="Price of a million tokens that are read.")
    output: _Amount = Field(Decimal(0), description="Price of a million tokens that are written.")


class UsageSettings(Group):
    """What requests use and cost, and quotas of tokens a day."""

    ledger: bool = Field(
        True,
        description="Whether a row is kept for every request. When off, only for those of callers with a quota, which "
        "cannot be counted otherwise.",
    )
    prices: dict[str, PriceSettings] = Field(
        default_factory=dict,
        description="Prices per million tokens by model name or pattern, as JSON: "
        '{"mistral-large*": {"input": "2", "output": "6"}}. What is not in it has no cost.',
    )
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")] = Field(
        "EUR", description="What the prices are in."
    )
    user_tokens_per_day: int | None = Field(
        None,
        gt=0,
        le=10**12,
        description="Tokens that each user may use in a day (UTC), unless an administrator says otherwise about them; "
        "unset for any number.",
    )
    answer_tokens: int = Field(
        1024,
        gt=0,
        le=10**6,
        description="What an answer counts as in a quota before it is written, when its caller sets no bound.",
    )
    retention_days: int = Field(400, ge=1, le=36_500, description="How long rows of requests are kept.")
