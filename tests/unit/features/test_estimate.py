"""Everything the model is to read counts, four characters a token."""

import pytest

from backend.features.generation.estimate import estimate_tokens, prompt_characters
from backend.llm.types import ChatRequest, CompletionRequest, ImagePart, Message, TextPart, ToolCall, ToolSpec

TALK = (
    Message("system", (TextPart("1234"),)),
    Message("user", (TextPart("12"), ImagePart("AAAA", "image/png"), TextPart("34"))),
    Message("assistant", (TextPart("1"),), "234", (ToolCall("id", "call", {"a": "é"}),)),
    Message("tool", (TextPart("1234"),), tool_call_id="id", tool_name="call"),
)


@pytest.mark.parametrize(
    ("request_", "characters"),
    [
        (ChatRequest("m", ()), 0),
        (ChatRequest("m", TALK), 4 * 4 + len("\n") + len("call") + len('{"a":"é"}'.encode())),
        (ChatRequest("m", (), (ToolSpec("tool", "does it", {"type": "object"}),)), 4 + 7 + len('{"type":"object"}')),
        (CompletionRequest("m", "12345"), 5),
        (CompletionRequest("m", "12345", "678"), 8),
    ],
)
def test_text_reasoning_calls_and_tools_count(request_: ChatRequest | CompletionRequest, characters: int) -> None:
    assert prompt_characters(request_) == characters
    assert estimate_tokens(request_) == max(characters // 4, 1)
