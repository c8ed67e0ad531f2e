"""Takes nulls out of what upstreams say: several clients break on them."""

from collections.abc import Mapping, Sequence
from typing import Any


def without_nulls(value: Any) -> Any:
    """Return `value` without any null inside objects."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [without_nulls(item) for item in value]
    return value
