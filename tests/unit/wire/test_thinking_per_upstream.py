"""`think` is asked for in each upstream's and model family's own words."""

from collections.abc import Mapping
from typing import Any

import pytest

from backend.llm.types import ChatRequest, Message, TextPart, Thinking
from backend.wire.mistral.messages import MessageStyle
from backend.wire.mistral.reasoning import write_thinking as write_mistral
from backend.wire.mistral.request import ModelStyle, write_chat
from backend.wire.openai.options import Dialect
from backend.wire.openai.reasoning import ReasoningStyle, write_thinking

NONE, TEMPLATE, EFFORT, TOKENIZER = ReasoningStyle
VLLM, LLAMACPP, LMSTUDIO, OPENAI, GENERIC = Dialect
LEVELS: tuple[Thinking | None, ...] = (None, True, False, "low", "medium", "high", "max")
QUIET = {"include_reasoning": False}


def effort(level: str) -> dict[str, Any]:
    return {"reasoning_effort": level}


def vllm_kwargs(*, on: bool) -> dict[str, Any]:
    return {"chat_template_kwargs": {"enable_thinking": on, "thinking": on}}


def llama_kwargs(*, on: bool) -> dict[str, Any]:
    return {"chat_template_kwargs": {"enable_thinking": on}}


FAMILIES = [
    pytest.param(model, level, effort("none" if level is False else "high"), id=f"{model}-{level}")
    for model in (
        "mistral-small-latest",
        "mistral-small-2603",
        "mistral-medium-3",
        "mistral-medium-3-5",
        "mistral-medium-3.5",
        "mistral-medium-2604",
        "mistral-medium-latest",
        "mistral-large-4",
        "mistral-large-4-0",
        "magistral-small-latest",
    )
    for level in LEVELS[1:]
]
GLM = {True: "high", "low": "low", "medium": "high", "high": "high", "max": "max"}
FAMILIES += [
    pytest.param(model, level, effort(word), id=f"{model}-{level}")
    for model, off in (("zai-glm-5-3", "low"), ("zai-glm-5-2", "none"))
    for level, word in {**GLM, False: off}.items()
]
FAMILIES += [
    pytest.param(model, level, {} if level is False else {"prompt_mode": "reasoning"}, id=f"{model}-{level}")
    for model in ("magistral-small-2506", "magistral-medium-2509")
    for level in LEVELS[1:]
]


@pytest.mark.parametrize(("model", "level", "sent"), FAMILIES)
def test_mistral_families_are_steered_as_they_accept_it(model: str, level: Thinking, sent: Mapping[str, Any]) -> None:
    assert write_mistral(level, model) == sent


@pytest.mark.parametrize("model", ["mistral-small-latest", "zai-glm-5-3", "magistral-small-2506", "codestral-2508"])
def test_mistral_is_told_nothing_when_the_caller_said_nothing(model: str) -> None:
    assert write_mistral(None, model) == {}


def test_a_reasoning_model_of_no_known_family_is_asked_for_much_or_nothing() -> None:
    assert write_mistral(True, "new-model") == effort("high")
    assert write_mistral(False, "new-model") == {}


@pytest.mark.parametrize("level", LEVELS)
def test_a_mistral_model_that_does_not_reason_is_told_nothing(level: Thinking | None) -> None:
    request = ChatRequest("mistral-small-latest", (Message("user", (TextPart("x"),)),), thinking=level)
    body = write_chat(request, ModelStyle(MessageStyle(reasons=False)))
    assert not {"reasoning_effort", "prompt_mode"} & body.keys()


ROWS: list[tuple[Dialect, ReasoningStyle, Thinking, dict[str, Any]]] = [
    (VLLM, TEMPLATE, True, vllm_kwargs(on=True)),
    (VLLM, TEMPLATE, False, vllm_kwargs(on=False) | QUIET),
    (VLLM, TEMPLATE, "low", vllm_kwargs(on=True) | effort("low")),
    (VLLM, TEMPLATE, "medium", vllm_kwargs(on=True) | effort("medium")),
    (VLLM, TEMPLATE, "high", vllm_kwargs(on=True) | effort("high")),
    (VLLM, EFFORT, True, effort("medium")),
    (VLLM, EFFORT, False, effort("low") | QUIET),
    (VLLM, EFFORT, "low", effort("low")),
    (VLLM, EFFORT, "medium", effort("medium")),
    (VLLM, EFFORT, "high", effort("high")),
    (VLLM, TOKENIZER, True, effort("high")),
    (VLLM, TOKENIZER, False, effort("none") | QUIET),
    (VLLM, TOKENIZER, "low", effort("high")),
    (VLLM, TOKENIZER, "medium", effort("high")),
    (VLLM, TOKENIZER, "high", effort("high")),
    (VLLM, TOKENIZER, "max", effort("high")),
    (LLAMACPP, TEMPLATE, True, llama_kwargs(on=True)),
    (LLAMACPP, TEMPLATE, False, llama_kwargs(on=False)),
    *((LLAMACPP, TEMPLATE, level, llama_kwargs(on=True) | effort(level)) for level in ("low", "medium", "high")),
    (OPENAI, EFFORT, True, effort("medium")),
    *(
        (dialect, EFFORT, level, effort(level))
        for dialect in (LLAMACPP, LMSTUDIO, OPENAI, GENERIC)
        for level in ("low", "medium", "high")
    ),
]


@pytest.mark.parametrize(("dialect", "style", "level", "sent"), ROWS)
def test_compatible_servers_are_steered_by_family(
    dialect: Dialect, style: ReasoningStyle, level: Thinking, sent: dict[str, Any]
) -> None:
    assert write_thinking(level, dialect, style) == sent


@pytest.mark.parametrize(
    ("dialect", "style", "level", "words"),
    [
        (OPENAI, EFFORT, False, {"none", "minimal"}),
        (OPENAI, EFFORT, "max", {"xhigh", "max", "high"}),
        (VLLM, EFFORT, "max", {"max", "high"}),
        (VLLM, TEMPLATE, "max", {"max", "high"}),
        (LLAMACPP, TEMPLATE, "max", {"xhigh", "max", "high"}),
        (GENERIC, EFFORT, "max", {"xhigh", "max", "high"}),
    ],
)
def test_an_extreme_level_becomes_one_the_server_takes(
    dialect: Dialect, style: ReasoningStyle, level: Thinking, words: set[str]
) -> None:
    assert write_thinking(level, dialect, style)["reasoning_effort"] in words


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("style", ReasoningStyle)
def test_a_compatible_server_is_told_nothing_when_the_caller_said_nothing(
    dialect: Dialect, style: ReasoningStyle
) -> None:
    assert write_thinking(None, dialect, style) == {}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("level", LEVELS)
def test_a_model_of_unknown_habits_is_told_nothing(dialect: Dialect, level: Thinking | None) -> None:
    assert write_thinking(level, dialect, NONE) == {}


@pytest.mark.parametrize("dialect", [LMSTUDIO, OPENAI, GENERIC])
@pytest.mark.parametrize("level", LEVELS)
def test_template_variables_go_only_to_servers_that_know_them(dialect: Dialect, level: Thinking | None) -> None:
    assert "chat_template_kwargs" not in write_thinking(level, dialect, TEMPLATE)
