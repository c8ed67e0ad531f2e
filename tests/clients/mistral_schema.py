"""What may reach Mistral: its request schema is closed, a key it does not know is a 422."""

import re
from typing import Any

from tests.clients.scripts import CHAT
from tests.clients.served import Served

NINE = re.compile(r"[a-zA-Z0-9]{9}")
# Every key that Mistral's closed request schema knows and the gateway may send.
MISTRAL_KEYS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed",
    "presence_penalty", "frequency_penalty", "response_format", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning_effort", "prompt_mode", "top_k", "repetition_penalty", "logprobs",
    "top_logprobs",
}  # fmt: skip
FIM_KEYS = {
    "model", "prompt", "suffix", "temperature", "top_p", "max_tokens", "min_tokens", "stream", "stop",
    "random_seed",
}  # fmt: skip
MESSAGE_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def sent(served: Served, method_path: str = CHAT) -> dict[str, Any]:
    """Return the body of the only upstream call there was."""
    (request,) = served.upstream.calls(method_path)
    body = request.body
    assert isinstance(body, dict)
    return body


def image_urls(message: dict[str, Any]) -> list[str]:
    """Return the addresses of a message's images, whichever of Mistral's two forms they have."""
    urls = [chunk["image_url"] for chunk in message["content"] if chunk["type"] == "image_url"]
    return [url if isinstance(url, str) else url["url"] for url in urls]


def pairs_calls_with_results(messages: list[dict[str, Any]], *, any_id: bool = False) -> dict[str, str]:
    """Check that every call has one id, of Mistral's form, and one result; return the results by the calls' names."""
    calls = [call for message in messages for call in message.get("tool_calls") or []]
    results = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    assert any_id or all(NINE.fullmatch(call["id"]) for call in calls)
    assert [call["id"] for call in calls] == list(dict.fromkeys(call["id"] for call in calls))
    assert results.keys() == {call["id"] for call in calls}
    return {call["function"]["name"]: results[call["id"]] for call in calls}


def stays_in_mistrals_schema(body: dict[str, Any]) -> None:
    assert body.keys() <= MISTRAL_KEYS
    for message in body["messages"]:
        assert message.keys() <= MESSAGE_KEYS[message["role"]]
