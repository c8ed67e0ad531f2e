"""LiteLLM in both of its ways to an Ollama server: `ollama_chat/` asks chat, `ollama/` asks generate."""

from typing import Any

import pytest

from tests.clients.libraries import LITELLM_WARNINGS, LiteLLM
from tests.clients.mistral_schema import image_urls, pairs_calls_with_results, sent, stays_in_mistrals_schema
from tests.clients.questions import EMBED, HELLO, PNG_URI, SMALL, WEATHER
from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    embeddings,
    golden,
    golden_text,
    mistral_error,
    ollama_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import Served
from tests.fakes.scripted_upstream import sse_reply

pytestmark = LITELLM_WARNINGS
WAYS = ["ollama_chat", "ollama"]


def joined(parts: list[Any], field: str = "content") -> str:
    return "".join(getattr(part.choices[0].delta, field, None) or "" for part in parts)


@pytest.mark.parametrize("way", WAYS)
def test_a_completion_gives_the_text_and_the_counts(mistral: Served, litellm: LiteLLM, way: str) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = litellm.ask(mistral, f"{way}/{SMALL}", max_tokens=16, temperature=0.2)
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("Bonjour", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (9, 5)
    body = sent(mistral)
    stays_in_mistrals_schema(body)
    assert (body["max_tokens"], body["temperature"]) == (16, 0.2)


@pytest.mark.parametrize("way", WAYS)
def test_a_streamed_completion_gives_the_deltas(mistral: Served, litellm: LiteLLM, way: str) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    parts = list(litellm.ask(mistral, f"{way}/{SMALL}", stream=True))
    assert joined(parts) == golden_text("mistral/text.sse")
    assert parts[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_round_trip_reaches_mistral_with_matching_ids(
    mistral: Served, litellm: LiteLLM, *, stream: bool
) -> None:
    calls = [tool_call("gSIMJiOkT", "get_weather", city="Paris"), tool_call("Qz81LmB0x", "get_time")]
    mistral.upstream.script(CHAT, [calling_answer(*calls), answer("22 degrees at noon.")])
    reply = litellm.ask(mistral, f"ollama_chat/{SMALL}", tools=[WEATHER], stream=stream)
    if stream:
        reply = litellm.module.stream_chunk_builder(list(reply))
    turn = reply.choices[0].message
    assert reply.choices[0].finish_reason == "tool_calls"
    texts = {"get_weather": "22 degrees", "get_time": "noon"}
    results = [{"role": "tool", "tool_call_id": one.id, "content": texts[one.function.name]} for one in turn.tool_calls]
    second = litellm.ask(mistral, f"ollama_chat/{SMALL}", [*HELLO, turn.model_dump(), *results], tools=[WEATHER])
    assert second.choices[0].message.content == "22 degrees at noon."
    body = mistral.upstream.calls(CHAT)[1].body
    stays_in_mistrals_schema(body)
    assert pairs_calls_with_results(body["messages"]) == texts


def test_reasoning_is_told_apart_from_the_answer(mistral: Served, litellm: LiteLLM) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2 is 4.", "4")])
    message = litellm.ask(mistral, f"ollama_chat/{SMALL}", reasoning_effort="high").choices[0].message
    assert (message.reasoning_content, message.content) == ("2+2 is 4.", "4")


def test_a_schema_reaches_mistral(mistral: Served, litellm: LiteLLM) -> None:
    mistral.upstream.script(CHAT, [answer('{"name":"Paris"}')])
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    reply = litellm.ask(mistral, f"ollama_chat/{SMALL}", response_format=wanted)
    assert reply.choices[0].message.content == '{"name":"Paris"}'
    assert sent(mistral)["response_format"]["type"] == "json_schema"


def test_images_reach_mistral_as_data_uris(mistral: Served, litellm: LiteLLM) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG_URI}}]
    litellm.ask(mistral, f"ollama_chat/{SMALL}", [{"role": "user", "content": content}])
    (message,) = sent(mistral)["messages"]
    assert image_urls(message) == [PNG_URI]


def test_embeddings_come_in_the_order_of_the_texts(mistral: Served, litellm: LiteLLM) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0], [1.0, 0.0])])
    reply = litellm.module.embedding(f"ollama/{EMBED}", input=["one", "two"], api_base=mistral.url)
    assert [item["embedding"] for item in reply.data] == [pytest.approx([0.6, 0.8]), pytest.approx([1.0, 0.0])]
    assert reply.usage.prompt_tokens == 11


def test_model_info_is_read_from_show(mistral: Served, litellm: LiteLLM) -> None:
    info = litellm.module.get_model_info(f"ollama/{SMALL}", api_base=mistral.url)
    assert (info["max_input_tokens"], info["supports_function_calling"]) == (262144, True)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_before_the_answer_keeps_its_text(mistral: Served, litellm: LiteLLM, way: str) -> None:
    mistral.upstream.script(CHAT, [mistral_error("400-context-too-long.json")])
    with pytest.raises(litellm.error, match="159202 tokens"):
        litellm.ask(mistral, f"{way}/{SMALL}")


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_in_mid_stream_raises(failing_mistral: Served, litellm: LiteLLM, way: str) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"), delay=0.05)])
    with pytest.raises(litellm.error, match=r"Service unavailable\."):
        list(litellm.ask(failing_mistral, f"{way}/{SMALL}", stream=True))


def test_an_ollama_upstream_answers_alike(ollama_server: Served, litellm: LiteLLM) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    parts = list(litellm.ask(ollama_server, "ollama_chat/llama3.2:1b", stream=True))
    assert joined(parts) == golden_text("ollama/chat-text.ndjson")
