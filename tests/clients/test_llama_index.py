"""LlamaIndex, which asks `show` before its first chat and sends tool turns without any id."""

import base64

import ollama
import pytest
from pydantic import BaseModel

from tests.clients.libraries import LlamaIndex
from tests.clients.mistral_schema import image_urls, pairs_calls_with_results, sent, stays_in_mistrals_schema
from tests.clients.questions import PLAIN, PNG, PNG_URI
from tests.clients.scripts import (
    CHAT,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    golden,
    golden_text,
    mistral_error,
    ollama_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import Served
from tests.fakes.scripted_upstream import sse_reply


class City(BaseModel):
    """What a structured answer holds."""

    name: str


def test_chat_reads_the_context_length_first(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    model = index.model(mistral)
    reply = model.chat([index.user("Say hello.")])
    assert (reply.message.content, model.metadata.context_window) == ("Bonjour", 262144)
    assert reply.raw["usage"] == {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    stays_in_mistrals_schema(sent(mistral))


def test_streamed_chat_gives_the_deltas(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    parts = list(index.model(mistral).stream_chat([index.user("Say hello.")]))
    assert "".join(part.delta for part in parts) == parts[-1].message.content == golden_text("mistral/text.sse")


def test_complete_streams_and_collects_alike(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [answer("The", " sky")])
    model = index.model(mistral, PLAIN)
    assert model.complete("Why?").text == list(model.stream_complete("Why?"))[-1].text == "The sky"


def test_a_tool_round_trip_reaches_mistral_with_matching_ids(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(
        CHAT, [calling_answer(tool_call("gSIMJiOkT", "get_weather", city="Paris")), answer("Warm.")]
    )
    model, tool, question = index.model(mistral), index.weather(), index.user("What is the weather in Paris?")
    asked = model.chat_with_tools([tool], chat_history=[question])
    (selected,) = model.get_tool_calls_from_response(asked)
    assert (selected.tool_name, selected.tool_kwargs) == ("get_weather", {"city": "Paris"})
    result = index.types.ChatMessage(role="tool", content=str(tool(**selected.tool_kwargs)))
    assert model.chat_with_tools([tool], chat_history=[question, asked.message, result]).message.content == "Warm."
    body = mistral.upstream.calls(CHAT)[1].body
    stays_in_mistrals_schema(body)
    assert pairs_calls_with_results(body["messages"]) == {"get_weather": "22 degrees in Paris"}


def test_streamed_tool_calls_come_whole(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/tool-calls-pieced.sse"))])
    model = index.model(mistral)
    last = list(model.stream_chat_with_tools([index.weather()], user_msg="What is the weather in Paris?"))[-1]
    calls = [(call.tool_name, call.tool_kwargs) for call in model.get_tool_calls_from_response(last)]
    assert ("get_weather", {"city": "Paris"}) in calls


def test_structured_output_is_parsed(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [answer('{"name":', '"Paris"}')])
    prompt = index.prompts.PromptTemplate("Which city?")
    assert index.model(mistral).structured_predict(City, prompt) == City(name="Paris")
    assert sent(mistral)["response_format"]["type"] == "json_schema"


def test_thinking_is_told_apart_from_the_answer(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2 is 4.", "4")])
    blocks = index.model(mistral, thinking=True).chat([index.user("2+2?")]).message.blocks
    texts = {block.block_type: getattr(block, "content", None) or getattr(block, "text", None) for block in blocks}
    assert texts == {"thinking": "2+2 is 4.", "text": "4"}


def test_images_reach_mistral_as_data_uris(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    picture = index.types.ImageBlock(image=base64.b64encode(PNG), image_mimetype="image/png")
    text = index.types.TextBlock(text="What is this?")
    index.model(mistral).chat([index.types.ChatMessage(role="user", blocks=[text, picture])])
    (message,) = sent(mistral)["messages"]
    assert image_urls(message) == [PNG_URI]


def test_an_error_before_the_answer_keeps_its_text_and_status(mistral: Served, index: LlamaIndex) -> None:
    mistral.upstream.script(CHAT, [mistral_error("400-context-too-long.json")])
    with pytest.raises(ollama.ResponseError, match="159202 tokens") as caught:
        index.model(mistral).chat([index.user("Say hello.")])
    assert caught.value.status_code == 400


def test_a_failure_in_mid_stream_raises_after_the_text_so_far(failing_mistral: Served, index: LlamaIndex) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"), delay=0.05)])
    parts = iter(index.model(failing_mistral).stream_chat([index.user("Say hello.")]))
    assert next(parts).delta == "Par"
    with pytest.raises(ollama.ResponseError, match=r"Service unavailable\."):
        list(parts)


def test_an_ollama_upstream_answers_alike(ollama_server: Served, index: LlamaIndex) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    reply = index.model(ollama_server, "llama3.2:1b").chat([index.user("Say hello.")])
    assert reply.message.content == golden_text("ollama/chat-text.ndjson")
