"""LangChain, whose chat model always streams, loses the ids of tool calls and sends options full of nulls."""

import asyncio
import importlib
from typing import Any

import ollama
import pytest
from pydantic import BaseModel, Field

from tests.clients.mistral_schema import image_urls, pairs_calls_with_results, sent, stays_in_mistrals_schema
from tests.clients.questions import EMBED, PLAIN, PNG_URI, SMALL, WEATHER
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
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import sse_reply

QUIET: dict[str, Any] = {"client_kwargs": {"trust_env": False, "timeout": CLIENT_SECONDS}}
langchain: Any = importlib.import_module("langchain_ollama")
messages: Any = importlib.import_module("langchain_core.messages")


class City(BaseModel):
    """What a structured answer holds."""

    name: str = Field(description="The city's name")
    people: int = 0


def chat_model(served: Served, model: str = SMALL, **more: Any) -> Any:
    return langchain.ChatOllama(model=model, base_url=served.url, **QUIET, **more)


def test_invoke_gives_the_text_and_the_counts(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = chat_model(mistral, validate_model_on_init=True, temperature=0.2).invoke("Say hello.")
    assert (reply.content, reply.response_metadata["done_reason"]) == ("Bonjour", "stop")
    assert (reply.usage_metadata["input_tokens"], reply.usage_metadata["output_tokens"]) == (9, 5)
    body = sent(mistral)
    stays_in_mistrals_schema(body)
    assert (body["temperature"], body["messages"]) == (0.2, [{"role": "user", "content": "Say hello."}])


def test_stream_gives_the_deltas(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    parts = [part.content for part in chat_model(mistral).stream("Say hello.")]
    assert "".join(parts) == golden_text("mistral/text.sse")
    assert len(parts) > 2


def test_many_at_once_are_answered(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [answer("Hi")])

    async def ask() -> list[str]:
        replies = await asyncio.gather(*(chat_model(mistral).ainvoke("Say hello.") for _ in range(3)))
        return [reply.content for reply in replies]

    assert asyncio.run(ask()) == ["Hi"] * 3


def test_a_tool_round_trip_reaches_mistral_with_matching_ids(mistral: Served) -> None:
    calls = [tool_call("gSIMJiOkT", "get_weather", city="Paris"), tool_call("Qz81LmB0x", "get_time")]
    mistral.upstream.script(CHAT, [calling_answer(*calls), answer("22 degrees at noon.")])
    model = chat_model(mistral).bind_tools([WEATHER])
    question = messages.HumanMessage("What is the weather in Paris?")
    asked = model.invoke([question])
    assert [(one["name"], one["args"]) for one in asked.tool_calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_time", {}),
    ]
    texts = {"get_weather": "22 degrees", "get_time": "noon"}
    results = [messages.ToolMessage(texts[one["name"]], tool_call_id=one["id"]) for one in asked.tool_calls]
    assert model.invoke([question, asked, *results]).content == "22 degrees at noon."
    body = mistral.upstream.calls(CHAT)[1].body
    stays_in_mistrals_schema(body)
    assert pairs_calls_with_results(body["messages"]) == texts


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_structured_output_is_parsed(mistral: Served, method: str) -> None:
    mistral.upstream.script(CHAT, [answer('{"name":"Paris",', '"people":2100000}')])
    structured = chat_model(mistral).with_structured_output(City, method=method)
    assert structured.invoke("Which city?") == City(name="Paris", people=2100000)
    wanted = sent(mistral)["response_format"]["type"]
    assert wanted == {"json_schema": "json_schema", "json_mode": "json_object"}[method]


def test_structured_output_by_a_tool_is_parsed(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [calling_answer(tool_call("gSIMJiOkT", "City", name="Paris", people=2))])
    structured = chat_model(mistral).with_structured_output(City, method="function_calling")
    assert structured.invoke("Which city?") == City(name="Paris", people=2)


def test_reasoning_is_told_apart_from_the_answer(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2 is 4.", "4")])
    reply = chat_model(mistral, reasoning=True).invoke("2+2?")
    assert (reply.additional_kwargs["reasoning_content"], reply.content) == ("2+2 is 4.", "4")


def test_images_reach_mistral_as_data_uris(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": PNG_URI}]
    chat_model(mistral).invoke([messages.HumanMessage(content)])
    (message,) = sent(mistral)["messages"]
    assert image_urls(message) == [PNG_URI]


def test_the_text_model_asks_generate(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [answer("The", " sky")])
    model = langchain.OllamaLLM(model=PLAIN, base_url=mistral.url, **QUIET)
    assert model.invoke("Why?") == "".join(model.stream("Why?")) == "The sky"


def test_embeddings_come_in_the_order_of_the_texts(mistral: Served) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0], [1.0, 0.0]), embeddings([0.6, 0.8])])
    model = langchain.OllamaEmbeddings(model=EMBED, base_url=mistral.url, **QUIET)
    assert model.embed_documents(["one", "two"]) == [pytest.approx([0.6, 0.8]), pytest.approx([1.0, 0.0])]
    assert model.embed_query("one") == pytest.approx([0.6, 0.8])


def test_an_error_before_the_answer_keeps_its_text_and_status(mistral: Served) -> None:
    mistral.upstream.script(CHAT, [mistral_error("400-context-too-long.json")])
    with pytest.raises(ollama.ResponseError, match="159202 tokens") as caught:
        chat_model(mistral).invoke("Say hello.")
    assert caught.value.status_code == 400


def test_a_model_that_is_not_here_is_told_at_once(mistral: Served) -> None:
    with pytest.raises(ValueError, match="`nope`"):
        chat_model(mistral, "nope", validate_model_on_init=True)


def test_a_failure_in_mid_stream_raises_after_the_text_so_far(failing_mistral: Served) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"), delay=0.05)])
    parts = iter(chat_model(failing_mistral).stream("Say hello."))
    assert next(parts).content == "Par"
    with pytest.raises(ollama.ResponseError, match=r"Service unavailable\."):
        list(parts)


def test_an_ollama_upstream_answers_alike(ollama_server: Served) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    parts = [part.content for part in chat_model(ollama_server, "llama3.2:1b").stream("Say hello.")]
    assert "".join(parts) == golden_text("ollama/chat-text.ndjson")
