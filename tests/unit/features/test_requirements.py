"""One check of a conversation against a model, whatever wire format it came in."""

from dataclasses import replace

import pytest

from backend.core.errors import InvalidRequest
from backend.features.generation.requirements import check_request, require_vision
from backend.llm.capabilities import Capability
from backend.llm.types import ChatRequest, ImagePart, Message, ToolSpec
from tests.fakes.providers import ScriptedProvider, backend_of, info, model_of

PLAIN = ChatRequest("M", (Message("user"),))
THINKS = replace(PLAIN, thinking=True)
CALLS = replace(PLAIN, tools=(ToolSpec("f"),))
SEES = replace(PLAIN, messages=(Message("user", (ImagePart("AAAA", "image/png"),)),))
ALL = replace(THINKS, tools=CALLS.tools, messages=SEES.messages)


def check(request: ChatRequest, *capabilities: Capability, is_listed: bool = True) -> None:
    known = info("m", *capabilities, is_listed=is_listed)
    model = model_of(backend_of(ScriptedProvider()), known=known)
    check_request(model, request, "chat")
    require_vision(model, request)


@pytest.mark.parametrize(
    ("request_", "capabilities", "words"),
    [
        (PLAIN, (Capability.EMBEDDING,), '"M" does not support chat'),
        (THINKS, (Capability.EMBEDDING,), '"M" does not support thinking'),
        (THINKS, (Capability.COMPLETION,), '"M" does not support thinking'),
        (CALLS, (Capability.COMPLETION,), "registry.ollama.ai/library/m:latest does not support tools"),
        (SEES, (Capability.COMPLETION,), "this model does not support image input"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_ollamas_words(
    request_: ChatRequest, capabilities: tuple[Capability, ...], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(request_, *capabilities)
    assert caught.value.message == words


def test_what_it_can_do_passes() -> None:
    check(ALL, *Capability)
    check(PLAIN, Capability.COMPLETION)
    check(replace(PLAIN, thinking=False), Capability.COMPLETION)


def test_a_model_about_which_nothing_is_known_may_try() -> None:
    check(ALL, is_listed=False)
    check(SEES, Capability.COMPLETION, is_listed=False)
