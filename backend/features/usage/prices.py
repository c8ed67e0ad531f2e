"""What a request costs: prices per million tokens, found by the name of the model.

Amounts are integers, millionths of the currency: a price per million tokens times tokens is just that, so nothing but
the last rounding is inexact.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase

MICRO = 1_000_000
_LATEST = ":latest"
_REMEMBERED = 10_000
_GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens read and a million tokens written cost."""

    input: Decimal
    output: Decimal

    def cost(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the price of so many tokens in millionths."""
        exact = self.input * prompt_tokens + self.output * completion_tokens
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


class PriceList:
    """Finds the price of a model.

    Args:
        prices: by model name or pattern with `*`, `?` and `[...]`, without case. A name counts before a pattern, a
            longer pattern before a shorter one, then the name a client sees before the one its backend uses.
        currency: what the prices are in, as ISO 4217 writes it.
    """

    def __init__(self, prices: Mapping[str, Price], currency: str) -> None:
        self.currency = currency
        lowered = {name.lower(): price for name, price in prices.items()}
        self._exact = {name.removesuffix(_LATEST): price for name, price in lowered.items() if not _GLOB & set(name)}
        patterns = [(name, price) for name, price in lowered.items() if _GLOB & set(name)]
        self._patterns = sorted(patterns, key=lambda item: (-len(item[0]), item[0]))
        self._found: dict[tuple[str, ...], Price | None] = {}

    def cost(self, names: tuple[str, ...], prompt_tokens: int, completion_tokens: int) -> int | None:
        """Return what a request to a model with these names costs, in millionths; None where no price is known."""
        price = self.find(names)
        return None if price is None else price.cost(prompt_tokens, completion_tokens)

    def find(self, names: tuple[str, ...]) -> Price | None:
        """Return the price of a model with these names, or None."""
        if not self._exact and not self._patterns:
            return None
        if names not in self._found:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[names] = next(self._matches([name.lower() for name in names if name]), None)
        return self._found[names]

    def _matches(self, names: list[str]) -> Iterator[Price]:
        for name in names:
            if (price := self._exact.get(name.removesuffix(_LATEST))) is not None:
                yield price
        for pattern, price in self._patterns:
            for name in names:
                if fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(_LATEST), pattern):
                    yield price


def amount(micro: int) -> str:
    """Return millionths as a decimal number, for example `0.0125`."""
    text = f"{Decimal(micro) / MICRO:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
