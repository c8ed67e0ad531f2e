"""How `think` is written per dialect and reasoning style: the `think` rows of `upstreams.md` D.2 as tables.

A style is a fact about a model family (`backend.providers.profiles`); the dialect is a fact about the server.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from backend.llm.types import Thinking
from backend.wire.openai.options import Dialect


class ReasoningStyle(StrEnum):
    """How a model family is told to reason or not."""

    NONE = "none"
    """It does not reason, or nothing is known about how to steer it."""
    TEMPLATE = "template"
    """By variables of the chat template (`enable_thinking`): Qwen 3, DeepSeek, GLM, ..."""
    EFFORT = "effort"
    """By `reasoning_effort`, never off: gpt-oss and OpenAI's reasoning models."""
    MISTRAL = "mistral"
    """By `reasoning_effort` none or high; template variables are refused (Mistral tokenizer on vLLM)."""


_EFFORT_LEVELS: Mapping[Thinking, str] = {
    True: "medium", False: "low", "low": "low", "medium": "medium", "high": "high", "max": "high",
}  # fmt: skip
_OPENAI_LEVELS: Mapping[Thinking, str] = {
    True: "medium", False: "minimal", "low": "low", "medium": "medium", "high": "high", "max": "xhigh",
}  # fmt: skip
_MISTRAL_LEVELS: Mapping[Thinking, str] = {
    True: "high", False: "none", "low": "high", "medium": "high", "high": "high", "max": "high",
}  # fmt: skip


def _switched(level: Thinking, *, deepseek_too: bool) -> dict[str, Any]:
    """Write the template variables, and the level where the caller named one."""
    on = level is not False
    variables = {"enable_thinking": on, **({"thinking": on} if deepseek_too else {})}
    body: dict[str, Any] = {"chat_template_kwargs": variables}
    if isinstance(level, str):
        body["reasoning_effort"] = "high" if level == "max" else level
    return body


def write_thinking(level: Thinking | None, dialect: Dialect, style: ReasoningStyle) -> dict[str, Any]:
    """Return the body fields that ask for this much reasoning; nothing when the caller said nothing."""
    if level is None or style is ReasoningStyle.NONE:
        return {}
    is_vllm = dialect is Dialect.VLLM
    if style is ReasoningStyle.MISTRAL:
        body: dict[str, Any] = {"reasoning_effort": _MISTRAL_LEVELS[level]}
    elif style is ReasoningStyle.EFFORT:
        levels = _OPENAI_LEVELS if dialect is Dialect.OPENAI else _EFFORT_LEVELS
        body = {"reasoning_effort": levels[level]}
    elif dialect in {Dialect.VLLM, Dialect.LLAMACPP}:
        body = _switched(level, deepseek_too=is_vllm)
    else:
        return {}
    if is_vllm and level is False:
        body["include_reasoning"] = False
    return body
