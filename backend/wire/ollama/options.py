"""Reads `options` with Ollama's types (`ollama-wire.md` 5.5): a wrong type is refused, an unknown name is ignored."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from backend.core.errors import InvalidRequest
from backend.llm.types import Sampling
from backend.wire.body import MAX_STOP_LENGTH, MAX_STOPS

_MAX_INT = 2**63 - 1


def _integer(name: str, value: Any) -> int:
    if not _is_number(value) or abs(value) > _MAX_INT:  # a float can be finite and still too large
        raise InvalidRequest(f'option "{name}" must be of type integer')
    return int(value)


def _float(name: str, value: Any) -> float:
    if not _is_number(value):
        raise InvalidRequest(f'option "{name}" must be of type float32')
    return float(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f'option "{name}" must be of type boolean')
    return value


def _strings(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(f'option "{name}" must be of type array')
    if not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f'option "{name}" must be of an array of strings')
    if len(value) > MAX_STOPS or any(len(item) > MAX_STOP_LENGTH for item in value):
        raise InvalidRequest(f'option "{name}" may hold {MAX_STOPS} strings of {MAX_STOP_LENGTH} characters at most')
    return tuple(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= _MAX_INT


_TYPES: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu", "main_gpu",
         "num_thread", "draft_num_predict"),
        _integer,
    ),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"),
        _float,
    ),
    "use_mmap": _boolean,
    "stop": _strings,
}  # fmt: skip

_LEGACY: Mapping[str, Callable[[str, Any], Any]] = {
    "mirostat": _integer,
    "mirostat_tau": _float,
    "mirostat_eta": _float,
}
"""Retired in Ollama, alive in llama.cpp's server: passed on to it when they fit, ignored otherwise."""

_OWN_FIELDS = frozenset(Sampling.__slots__) - {"extras", "max_tokens"}


def read_options(options: Mapping[str, Any]) -> Sampling:
    """Return the options the caller set; raise `InvalidRequest` with Ollama's text for a wrong type."""
    checked = check_options(options)
    own = {name: value for name, value in checked.items() if name in _OWN_FIELDS}
    limit = checked.get("num_predict", 0)
    extras = {name: value for name, value in checked.items() if name not in _OWN_FIELDS and name != "num_predict"}
    for name, read in _LEGACY.items():
        if _is_number(options.get(name)):
            extras[name] = read(name, options[name])
    return Sampling(**own, max_tokens=limit if limit > 0 else None, extras=extras)


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known options with their Ollama types."""
    return {name: _TYPES[name](name, value) for name, value in options.items() if value is not None and name in _TYPES}


def is_option(name: str) -> bool:
    """Whether Ollama knows an option of this name."""
    return name in _TYPES


def write_sampling(sampling: Sampling) -> dict[str, Any]:
    """Return canonical sampling as Ollama's options."""
    written = {name: getattr(sampling, name) for name in sorted(_OWN_FIELDS)}
    if sampling.max_tokens is not None:
        written["num_predict"] = sampling.max_tokens
    options = {name: value for name, value in written.items() if value is not None and value != ()}
    if "stop" in options:
        options["stop"] = list(options["stop"])
    return {**options, **sampling.extras}
