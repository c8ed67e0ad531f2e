"""Sampling options per kind of chat-completions server: the table of `upstreams.md` D.1."""

from collections.abc import Mapping
from enum import StrEnum

from backend.wire.options import OptionRule, OptionTable, is_one, negative


class Dialect(StrEnum):
    """A kind of server that speaks chat completions; they differ in options, reasoning and gap filling."""

    VLLM = "vllm"
    LLAMACPP = "llamacpp"
    LMSTUDIO = "lmstudio"
    OPENAI = "openai"
    GENERIC = "generic"


_TOP_P_FLOOR = 0.0001


def _penalties() -> dict[str, OptionRule]:
    return {name: OptionRule(name, -2.0, 2.0) for name in ("presence_penalty", "frequency_penalty")}


def _passed(*names: str) -> dict[str, OptionRule]:
    return {name: OptionRule(name) for name in names}


_COMMON: OptionTable = {
    "temperature": OptionRule("temperature", 0.0, 2.0),
    "top_p": OptionRule("top_p", _TOP_P_FLOOR, 1.0),
    "seed": OptionRule("seed", omit=negative),
    "stop": OptionRule("stop"),
}

OPTIONS: Mapping[Dialect, OptionTable] = {
    Dialect.VLLM: {
        **_COMMON,
        **_penalties(),
        "max_tokens": OptionRule("max_completion_tokens"),
        "top_k": OptionRule("top_k"),
        "min_p": OptionRule("min_p", 0.0, 1.0),
        "repeat_penalty": OptionRule("repetition_penalty", 0.0001, omit=is_one),
    },
    Dialect.LLAMACPP: {
        **_COMMON,
        **_passed(
            "max_tokens",
            "top_k",
            "min_p",
            "typical_p",
            "repeat_penalty",
            "repeat_last_n",
            "presence_penalty",
            "frequency_penalty",
            "mirostat",
            "mirostat_tau",
            "mirostat_eta",
        ),
        "temperature": OptionRule("temperature"),
        "top_p": OptionRule("top_p"),
        "num_keep": OptionRule("n_keep"),
    },
    Dialect.LMSTUDIO: {
        **_COMMON,
        **_passed("max_tokens", "top_k", "repeat_penalty", "presence_penalty", "frequency_penalty"),
    },
    Dialect.OPENAI: {
        **_COMMON,
        **_penalties(),
        "max_tokens": OptionRule("max_completion_tokens"),
        "stop": OptionRule("stop", limit=4),
    },
    Dialect.GENERIC: {
        **_COMMON,
        **_penalties(),
        "max_tokens": OptionRule("max_tokens"),
        "stop": OptionRule("stop", limit=4),
    },
}

REASONING_DROPS = frozenset(
    {"temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs"}
)
"""Fields that OpenAI's reasoning models refuse (`upstreams.md` C.3)."""

STOP_DROPS = ("o3", "o4-mini")
"""Beginnings of OpenAI model ids that refuse `stop`."""
