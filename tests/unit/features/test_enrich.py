"""What a preset puts before a request, and that it is the same bytes every time."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.generation.enrich import enrich, merge_sampling
from backend.llm.names import ModelName
from backend.llm.presets import Preset
from backend.llm.types import (
    ChatRequest,
    CompletionRequest,
    ImagePart,
    Message,
    Role,
    Sampling,
    TextPart,
    WireSource,
)
from backend.wire.jsontext import encode_json
from backend.wire.mistral import request as mistral
from backend.wire.mistral.messages import MessageStyle
from backend.wire.ollama import upstream as ollama
from backend.wire.openai import request as openai
from backend.wire.openai.options import Dialect
from backend.wire.openai.reasoning import ReasoningStyle

HOST = "registry.ollama.ai"
Turn = tuple[Role, str]


def turns(*given: Turn) -> tuple[Message, ...]:
    return tuple(Message(role, (TextPart(text),)) for role, text in given)


def preset(prompt: str = "P", *openers: Turn, sampling: Sampling | None = None) -> Preset:
    return Preset(
        "id",
        ModelName(HOST, "ana", "legal", "latest"),
        ModelName(HOST, "library", "base", "latest"),
        datetime(2026, 1, 1, tzinfo=UTC),
        prompt,
        sampling or Sampling(),
        turns(*openers),
    )


def chat(*given: Turn, **more: Any) -> ChatRequest:
    return ChatRequest("ana/legal", turns(*given), **more)


def applied(request: ChatRequest, before: Preset | None) -> ChatRequest:
    done = enrich(request, before)
    assert isinstance(done, ChatRequest)
    return done


def said(request: ChatRequest) -> list[Turn]:
    return [(message.role, message.text) for message in request.messages]


HI: Turn = ("user", "hi")
OPENERS: tuple[Turn, ...] = (("user", "a"), ("assistant", "b"))


@pytest.mark.parametrize(
    ("before", "given", "expected"),
    [
        (preset("P"), [HI], [("system", "P"), HI]),
        (preset("P"), [("system", "S"), HI], [("system", "P\n\nS"), HI]),
        (preset("P"), [("system", "S"), HI, ("system", "T")], [("system", "P\n\nS\n\nT"), HI]),
        (preset("P"), [("system", ""), HI], [("system", "P"), HI]),
        (preset("P", *OPENERS), [("system", "S"), HI], [("system", "P\n\nS"), *OPENERS, HI]),
        (preset("", *OPENERS), [HI], [*OPENERS, HI]),
        (preset("", *OPENERS), [("system", "S"), HI], [("system", "S"), *OPENERS, HI]),
        (preset("P", ("system", "Q"), HI), [("system", "S"), HI], [("system", "P\n\nQ\n\nS"), HI, HI]),
        (preset(""), [HI, ("system", "S")], [HI, ("system", "S")]),
        (preset("P"), [], [("system", "P")]),
        (None, [HI, ("system", "S")], [HI, ("system", "S")]),
    ],
)
def test_prompt_callers_systems_openers_and_conversation_come_in_this_order(
    before: Preset | None, given: list[Turn], expected: list[Turn]
) -> None:
    assert said(applied(chat(*given), before)) == expected


def test_an_image_in_a_callers_system_turn_is_kept() -> None:
    image = ImagePart("AAAA", "image/png")
    done = applied(ChatRequest("m", (Message("system", (TextPart("S"), image)),)), preset("P"))
    assert done.messages == (Message("system", (TextPart("P\n\nS"), image)),)


@pytest.mark.parametrize(
    ("ours", "callers", "expected"),
    [
        (Sampling(temperature=0.2), Sampling(), Sampling(temperature=0.2)),
        (Sampling(temperature=0.2), Sampling(temperature=0.0), Sampling(temperature=0.0)),
        (Sampling(stop=("a",)), Sampling(stop=("b", "c")), Sampling(stop=("b", "c"))),
        (Sampling(stop=("a",)), Sampling(), Sampling(stop=("a",))),
        (Sampling(seed=1, top_k=5), Sampling(seed=2), Sampling(seed=2, top_k=5)),
        (
            Sampling(extras={"num_ctx": 1, "use_mmap": True}),
            Sampling(extras={"num_ctx": 2}),
            Sampling(extras={"num_ctx": 2, "use_mmap": True}),
        ),
    ],
)
def test_the_callers_options_win_one_by_one(ours: Sampling, callers: Sampling, expected: Sampling) -> None:
    assert merge_sampling(ours, callers) == expected


def test_text_without_a_template_gets_parameters_only() -> None:
    source = WireSource("ollama", "/api/generate", {})
    before = preset("P", *OPENERS, sampling=Sampling(temperature=0.1))
    done = enrich(CompletionRequest("m", "once", "end", source=source), before)
    assert done == CompletionRequest("m", "once", "end", Sampling(temperature=0.1))


def test_what_was_changed_is_not_sent_on_as_the_caller_wrote_it() -> None:
    source = WireSource("ollama", "/api/chat", {})
    assert applied(chat(HI, source=source), preset("")).source is None
    assert applied(chat(HI, source=source), None).source is source


Writer = Callable[[ChatRequest], Mapping[str, Any]]
WRITERS: dict[str, Writer] = {
    "ollama": ollama.write_chat,
    "mistral": lambda request: mistral.write_chat(request, mistral.ModelStyle(MessageStyle(reasons=False))),
    **{
        str(dialect): lambda request, dialect=dialect: openai.write_chat(request, dialect, ReasoningStyle.NONE)  # type: ignore[misc]
        for dialect in Dialect
    },
}
texts = st.text(max_size=20)
conversations = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), max_size=6)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@given(prompt=texts, openers=conversations, conversation=conversations)
def test_the_same_agent_and_conversation_are_the_same_bytes(
    write: Writer, prompt: str, openers: list[Turn], conversation: list[Turn]
) -> None:
    sampling = Sampling(temperature=0.5, stop=("x",), extras={"num_ctx": 9})

    def sent() -> bytes:
        return encode_json(write(applied(chat(*conversation), preset(prompt, *openers, sampling=sampling))))

    assert sent() == sent()


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_the_next_turn_begins_with_the_bytes_of_the_last(write: Writer) -> None:
    before = preset("P", *OPENERS)
    first = [("system", "S"), HI]
    second = [*first, ("assistant", "yes"), ("user", "and?")]
    one, two = (json.dumps(write(applied(chat(*given), before))["messages"]) for given in (first, second))
    assert two.startswith(one.removesuffix("]"))
