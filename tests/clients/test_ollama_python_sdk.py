"""The official Python SDK, unchanged, pointed at the gateway."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import ollama
import pytest

from tests.clients.mistral_schema import FIM_KEYS, NINE, sent, stays_in_mistrals_schema
from tests.clients.questions import HELLO, PNG, SMALL, WEATHER
from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    FIM,
    OLLAMA_CHAT,
    answer,
    calling_answer,
    embeddings,
    golden,
    golden_text,
    mistral_error,
    ollama_answer,
    reasoning_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import Reply, json_reply, ndjson_reply, sse_reply


@pytest.fixture
def ollama_client(ollama_server: Served) -> Iterator[ollama.Client]:
    with ollama.Client(ollama_server.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture
def vllm_client(vllm: Served) -> Iterator[ollama.Client]:
    with ollama.Client(vllm.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


@pytest.fixture
def failing_client(failing_mistral: Served) -> Iterator[ollama.Client]:
    with ollama.Client(failing_mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


def test_list_holds_every_model_with_a_tag_and_a_digest_of_its_own(client: ollama.Client) -> None:
    models = client.list().models
    names = [str(model.model) for model in models]
    assert {"ministral-3b-2512:latest", "codestral-2508:latest", "mistral-embed:latest"} <= set(names)
    assert {"mistral-small-2603:latest", "mistral-small-latest:latest"} & set(names)
    assert len({model.digest for model in models}) == len(models)
    assert all(isinstance(model.modified_at, datetime) and model.modified_at.tzinfo for model in models)


def test_every_listed_model_can_be_shown(client: ollama.Client) -> None:
    for model in client.list().models:
        shown = client.show(str(model.model))
        info = shown.modelinfo
        assert info is not None
        assert isinstance(info[f"{info['general.architecture']}.context_length"], int)
        assert shown.capabilities


@pytest.mark.parametrize(
    ("model", "capabilities", "context"),
    [
        (SMALL, {"completion", "tools", "vision", "thinking"}, 262144),
        ("ministral-3b-2512", {"completion"}, 131072),
        ("codestral-2508", {"completion", "tools", "insert"}, 131072),
        ("mistral-embed", {"embedding"}, 8192),
    ],
)
def test_show_tells_what_the_upstream_says_the_model_can_do(
    client: ollama.Client, model: str, capabilities: set[str], context: int
) -> None:
    shown = client.show(model)
    info = shown.modelinfo or {}
    assert set(shown.capabilities or []) == capabilities
    assert info[f"{info['general.architecture']}.context_length"] == context


def test_ps_lists_a_model_after_its_use(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Hi")])
    client.chat("ministral-3b-2512", HELLO)
    (running,) = [one for one in client.ps().models if one.model == "ministral-3b-2512:latest"]
    assert isinstance(running.expires_at, datetime)
    assert running.expires_at.tzinfo is not None


def test_chat_without_streaming_gives_the_whole_text_and_the_counts(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = client.chat(SMALL, HELLO)
    assert reply.model == SMALL
    assert (reply.message.role, reply.message.content) == ("assistant", "Bonjour")
    assert (reply.done, reply.done_reason) == (True, "stop")
    assert (reply.prompt_eval_count, reply.eval_count) == (9, 5)
    assert (reply.eval_duration or 0) > 0
    body = sent(mistral)
    stays_in_mistrals_schema(body)
    assert body["messages"] == HELLO


def test_streamed_chat_gives_the_deltas_and_one_done_line(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"), delay=0.01)])
    parts = list(client.chat(SMALL, HELLO, stream=True))
    assert "".join(part.message.content or "" for part in parts) == golden_text("mistral/text.sse")
    assert [bool(part.done) for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 2
    assert all(part.model == SMALL and part.message.role == "assistant" for part in parts)
    assert (parts[-1].done_reason, parts[-1].prompt_eval_count, parts[-1].eval_count) == ("stop", 9, 5)
    assert sent(mistral)["stream"] is True


async def test_async_chat_streams_and_collects_alike(mistral: Served, async_client: ollama.AsyncClient) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    streamed = [part async for part in await async_client.chat(SMALL, HELLO, stream=True)]
    collected = await async_client.chat(SMALL, HELLO)
    assert "".join(part.message.content or "" for part in streamed) == collected.message.content == "Bonjour"


def test_a_reply_cut_by_the_token_limit_says_length(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text-length.sse"))])
    last = list(client.chat(SMALL, HELLO, stream=True, options={"num_predict": 3}))[-1]
    assert last.done_reason == "length"
    assert sent(mistral)["max_tokens"] == 3


def test_options_reach_mistral_under_its_own_names_and_within_its_ranges(
    mistral: Served, client: ollama.Client
) -> None:
    mistral.upstream.script(CHAT, [answer("Hi")])
    options = {
        "temperature": 2.0, "top_p": 0.5, "seed": 7, "num_predict": 16, "stop": ["\n\n", ""], "num_ctx": 4096,
        "presence_penalty": 0.5, "frequency_penalty": 3.0, "mirostat": 1, "min_p": 0.1, "num_gpu": 1,
    }  # fmt: skip
    client.chat(SMALL, HELLO, options=options)
    body = sent(mistral)
    stays_in_mistrals_schema(body)
    assert (body["temperature"], body["top_p"], body["random_seed"], body["max_tokens"]) == (1.5, 0.5, 7, 16)
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.5, 2.0)
    assert body["stop"] in (["\n\n"], "\n\n")


def test_tool_calls_arrive_as_objects_with_stop_as_the_reason(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [calling_answer(tool_call("gSIMJiOkT", "get_weather", city="Paris"))])
    reply = client.chat(SMALL, HELLO, tools=[WEATHER])
    (call,) = reply.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    assert (reply.message.content, reply.done_reason) == ("", "stop")
    (tool,) = sent(mistral)["tools"]
    assert tool["type"] == "function"
    assert tool["function"]["parameters"]["properties"] == {"city": {"type": "string"}}


@pytest.mark.parametrize("stream", ["tool-call", "tool-calls-pieced", "tool-calls-glm", "thinking-then-tool"])
def test_streamed_tool_calls_come_whole_and_once(mistral: Served, client: ollama.Client, stream: str) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden(f"mistral/{stream}.sse"))])
    parts = list(client.chat(SMALL, HELLO, tools=[WEATHER], stream=True))
    calls = [call.function for part in parts for call in part.message.tool_calls or []]
    assert [call.arguments for call in calls if call.name == "get_weather"] == [{"city": "Paris"}]
    assert parts[-1].done_reason == "stop"


@pytest.mark.parametrize("named", [True, False])
def test_a_tool_turn_without_ids_reaches_mistral_with_matching_ids(
    mistral: Served, client: ollama.Client, *, named: bool
) -> None:
    calls = [tool_call("gSIMJiOkT", "get_weather", city="Paris"), tool_call("Qz81LmB0x", "get_time")]
    mistral.upstream.script(CHAT, [calling_answer(*calls), answer("22 degrees at noon.")])
    first = client.chat(SMALL, HELLO, tools=[WEATHER])
    results = [("get_weather", "22 degrees"), ("get_time", "noon")]
    turns = [{"role": "tool", "content": text} | ({"tool_name": name} if named else {}) for name, text in results]
    second = client.chat(SMALL, [*HELLO, first.message, *turns], tools=[WEATHER])
    assert second.message.content == "22 degrees at noon."
    body = mistral.upstream.calls(CHAT)[1].body
    stays_in_mistrals_schema(body)
    user, assistant, *tools = body["messages"]
    ids = [call["id"] for call in assistant["tool_calls"]]
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    assert [json.loads(call["function"]["arguments"]) for call in assistant["tool_calls"]] == [
        {"city": "Paris"},
        {},
    ]
    assert len(set(ids)) == 2
    assert all(NINE.fullmatch(one) for one in ids)
    assert [(tool["tool_call_id"], tool["content"]) for tool in tools] == list(
        zip(ids, ["22 degrees", "noon"], strict=True)
    )


def test_tool_results_in_another_order_are_matched_by_name(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Done.")])
    functions = [
        {"name": "get_weather", "arguments": {"city": "Paris"}},
        {"name": "get_time", "arguments": {}},
    ]
    turns: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [{"function": function} for function in functions]},
        {"role": "tool", "tool_name": "get_time", "content": "noon"},
        {"role": "tool", "tool_name": "get_weather", "content": "22 degrees"},
    ]
    client.chat(SMALL, [*HELLO, *turns])
    messages = sent(mistral)["messages"]
    weather, time = (call["id"] for call in messages[1]["tool_calls"])
    results = {message["tool_call_id"]: message["content"] for message in messages if message["role"] == "tool"}
    assert results == {weather: "22 degrees", time: "noon"}


def test_thinking_is_told_apart_from_the_answer(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2 is 4.", "4")])
    reply = client.chat(SMALL, HELLO, think=True)
    assert (reply.message.thinking, reply.message.content) == ("2+2 is 4.", "4")
    assert sent(mistral)["reasoning_effort"] == "high"


@pytest.mark.parametrize("stream", ["thinking", "thinking-closing-variant"])
def test_streamed_thinking_comes_before_the_answer(mistral: Served, client: ollama.Client, stream: str) -> None:
    name = f"mistral/{stream}.sse"
    mistral.upstream.script(CHAT, [sse_reply(golden(name))])
    parts = [part.message for part in client.chat(SMALL, HELLO, think="high", stream=True)]
    assert "".join(part.thinking or "" for part in parts) == golden_text(name, "thinking")
    assert "".join(part.content or "" for part in parts) == golden_text(name)


def test_think_false_asks_mistral_for_no_reasoning(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("4")])
    assert client.chat(SMALL, HELLO, think=False).message.thinking is None
    assert sent(mistral)["reasoning_effort"] == "none"


def test_images_reach_mistral_as_data_uris(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    client.chat(SMALL, [{"role": "user", "content": "What is this?", "images": [PNG]}])
    (message,) = sent(mistral)["messages"]
    uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert {"type": "text", "text": "What is this?"} in message["content"]
    (image,) = [chunk["image_url"] for chunk in message["content"] if chunk["type"] == "image_url"]
    assert image == uri or image["url"] == uri


def test_format_json_asks_for_an_object_and_says_so_in_a_prompt(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer("{}")])
    client.chat(SMALL, HELLO, format="json")
    body = sent(mistral)
    assert body["response_format"] == {"type": "json_object"}
    assert "JSON" in json.dumps(body["messages"])


def test_a_format_schema_reaches_mistral_as_a_strict_schema(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(CHAT, [answer('{"name":"Ada"}')])
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    client.chat(SMALL, HELLO, format=schema)
    wanted = sent(mistral)["response_format"]
    assert (wanted["type"], wanted["json_schema"]["strict"]) == ("json_schema", True)
    assert wanted["json_schema"]["name"]
    assert schema.items() <= wanted["json_schema"]["schema"].items()


@pytest.mark.parametrize("stream", [False, True])
def test_generate_answers_a_prompt(mistral: Served, client: ollama.Client, *, stream: bool) -> None:
    mistral.upstream.script(CHAT, [answer("The", " sky")])
    reply = client.generate(SMALL, "Why?", system="Be brief.", stream=stream)
    parts = list(reply) if stream else [reply]
    assert "".join(part["response"] for part in parts) == "The sky"
    assert (parts[-1]["done"], parts[-1]["done_reason"], parts[-1]["eval_count"]) == (True, "stop", 5)
    assert sent(mistral)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]


def test_generate_with_a_suffix_fills_in_the_middle(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(FIM, [answer("return ", "a + b")])
    reply = client.generate("codestral-2508", "def add(a, b):\n    ", suffix="\n\nprint(add(1, 2))")
    assert reply.response == "return a + b"
    body = sent(mistral, FIM)
    assert (body["prompt"], body["suffix"]) == ("def add(a, b):\n    ", "\n\nprint(add(1, 2))")
    assert body.keys() <= FIM_KEYS


def test_embed_returns_unit_vectors_in_the_order_of_the_input(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0], [1.0, 0.0])])
    reply = client.embed("mistral-embed", ["one", "two"])
    assert [list(vector) for vector in reply.embeddings] == [
        pytest.approx([0.6, 0.8]),
        pytest.approx([1.0, 0.0]),
    ]
    assert reply.prompt_eval_count == 11
    assert sent(mistral, EMBEDDINGS)["input"] == ["one", "two"]


async def test_async_embed_takes_a_single_string(mistral: Served, async_client: ollama.AsyncClient) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([0.6, 0.8])])
    assert len((await async_client.embed("mistral-embed", "one")).embeddings) == 1


def test_the_older_embeddings_call_returns_one_vector(mistral: Served, client: ollama.Client) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([0.6, 0.8])])
    assert list(client.embeddings("mistral-embed", "one").embedding) == pytest.approx([0.6, 0.8])


def test_pulling_a_known_model_succeeds(client: ollama.Client) -> None:
    assert client.pull(SMALL).status == "success"
    assert [part.status for part in client.pull(SMALL, stream=True)][-1] == "success"


def test_pulling_an_unknown_model_says_that_its_manifest_does_not_exist(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        client.pull("nope")
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        list(client.pull("nope", stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_a_404_in_ollamas_words(client: ollama.Client, *, stream: bool) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        list(client.chat("nope", HELLO, stream=stream))
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nope' not found")


async def test_an_unknown_embedding_model_offers_to_pull_it(async_client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        await async_client.embed("nope", "one")
    assert (caught.value.status_code, caught.value.error) == (
        404,
        'model "nope" not found, try pulling it first',
    )


def test_thinking_on_a_model_that_cannot_is_refused_in_ollamas_words(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("ministral-3b-2512", HELLO, think=True)
    assert (caught.value.status_code, caught.value.error) == (
        400,
        '"ministral-3b-2512" does not support thinking',
    )


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        ("400-invalid-model.json", 404, "not found"),
        ("400-message-order.json", 400, "Expected last role User or Tool"),
        ("400-context-too-long.json", 400, "159202 tokens"),
        ("422-wrapped-detail.json", 400, "temperature: Input should be less than or equal to 1.5"),
        ("402-budget-exhausted.json", 403, ""),
        ("403-tier-not-allowed.json", 403, "not available in your subscription tier"),
        ("429-rate-limited.json", 429, ""),
        ("500-internal.json", 502, ""),
        ("503-backend-capacity.json", 503, ""),
        ("520-cloudflare.html", 502, ""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_refusal_keeps_its_meaning_and_a_bad_request_its_words(
    failing_mistral: Served,
    failing_client: ollama.Client,
    reply: str,
    status: int,
    words: str,
    *,
    stream: bool,
) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error(reply)])
    with pytest.raises(ollama.ResponseError) as caught:
        list(failing_client.chat(SMALL, HELLO, stream=stream))
    assert caught.value.status_code == status
    assert words in caught.value.error
    assert caught.value.error


def test_the_gateways_own_bad_key_is_not_blamed_on_the_client(
    failing_mistral: Served, failing_client: ollama.Client
) -> None:
    failing_mistral.upstream.script(CHAT, [mistral_error("401-detail.json")])
    with pytest.raises(ollama.ResponseError) as caught:
        failing_client.chat(SMALL, HELLO)
    assert caught.value.status_code == 502
    assert "test-key" not in caught.value.error


@pytest.mark.parametrize(
    "reply",
    [
        sse_reply(golden("mistral/error-finish.sse")),
        sse_reply(golden("mistral/error-object.sse")),
        sse_reply(golden("mistral/cut.sse")),
        sse_reply(golden("mistral/cut.sse"), cut=True),
        sse_reply(golden("mistral/cut-inside-event.sse"), cut=True),
    ],
    ids=["error-finish", "error-object", "ended-early", "cut", "cut-inside-event"],
)
def test_a_failure_in_mid_stream_raises_after_the_text_so_far(
    failing_mistral: Served, failing_client: ollama.Client, reply: Reply
) -> None:
    failing_mistral.upstream.script(CHAT, [reply])
    texts: list[str] = []
    with pytest.raises(ollama.ResponseError) as caught:
        texts.extend(part.message.content or "" for part in failing_client.chat(SMALL, HELLO, stream=True))
    assert caught.value.error


def test_the_text_before_a_failure_is_delivered(failing_mistral: Served, failing_client: ollama.Client) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"), delay=0.05)])
    parts = iter(failing_client.chat(SMALL, HELLO, stream=True))
    assert next(parts).message.content == "Par"
    with pytest.raises(ollama.ResponseError, match=r"Service unavailable\."):
        next(parts)


def test_a_failure_without_streaming_is_an_error_status(failing_mistral: Served, failing_client: ollama.Client) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/cut.sse"), unary=b'{"id":"3f', cut=True)])
    with pytest.raises(ollama.ResponseError) as caught:
        failing_client.chat(SMALL, HELLO)
    assert caught.value.status_code in {502, 503, 504}


def test_vllm_is_asked_for_usage_and_its_answer_is_counted(vllm: Served, vllm_client: ollama.Client) -> None:
    vllm.upstream.script(CHAT, [sse_reply(golden("openai/vllm-text.sse"))])
    parts = list(vllm_client.chat("qwen3", HELLO, stream=True))
    assert "".join(part.message.content or "" for part in parts) == "Hello, world"
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (11, 3)
    body = sent(vllm)
    assert body["stream_options"]["include_usage"] is True
    assert body["model"] == "qwen3"


def test_vllm_reasoning_is_thinking(vllm: Served, vllm_client: ollama.Client) -> None:
    vllm.upstream.script(CHAT, [reasoning_answer("Hmm", "4")])
    message = vllm_client.chat("qwen3", HELLO).message
    assert (message.thinking, message.content) == ("Hmm", "4")


def test_vllm_tool_calls_in_pieces_come_whole(vllm: Served, vllm_client: ollama.Client) -> None:
    vllm.upstream.script(CHAT, [sse_reply(golden("openai/vllm-pieced-parallel-tools.sse"))])
    parts = list(vllm_client.chat("qwen3", HELLO, tools=[WEATHER], stream=True))
    calls = [call.function for part in parts for call in part.message.tool_calls or []]
    assert [(call.name, call.arguments) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Lyon"}),
        ("get_time", {}),
    ]


def test_a_vllm_error_in_mid_stream_raises(vllm: Served, vllm_client: ollama.Client) -> None:
    vllm.upstream.script(CHAT, [sse_reply(golden("openai/vllm-error-midstream.sse"))])
    with pytest.raises(ollama.ResponseError, match="EngineCore encountered an issue"):
        list(vllm_client.chat("qwen3", HELLO, stream=True))


def test_an_unset_option_is_left_to_vllm(vllm: Served, vllm_client: ollama.Client) -> None:
    vllm.upstream.script(CHAT, [answer("Hi")])
    vllm_client.chat("qwen3", HELLO, options={"seed": 7, "min_p": 0.1})
    body = sent(vllm)
    assert (body["seed"], body["min_p"]) == (7, 0.1)
    assert body.keys().isdisjoint({"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "tools"})


def test_an_ollama_upstream_keeps_its_models_and_their_details(ollama_client: ollama.Client) -> None:
    (model,) = ollama_client.list().models
    assert (model.model, model.size) == ("llama3.2:1b", 1321098329)
    assert set(ollama_client.show("llama3.2:1b").capabilities or []) == {"completion", "tools"}


@pytest.mark.parametrize("stream", [False, True])
def test_an_ollama_upstream_answers_with_its_own_measurements(
    ollama_server: Served, ollama_client: ollama.Client, *, stream: bool
) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    reply = ollama_client.chat("llama3.2:1b", HELLO, stream=stream)
    parts = list(reply) if stream else [reply]
    assert "".join(part["message"]["content"] for part in parts) == golden_text("ollama/chat-text.ndjson")
    last = parts[-1]
    assert (last["prompt_eval_count"], last["eval_count"], last["eval_duration"]) == (26, 4, 52479709)
    assert sent(ollama_server, OLLAMA_CHAT)["model"] == "llama3.2:1b"


@pytest.mark.parametrize("stream", ["chat-tools-native", "chat-tools-parser"])
def test_an_ollama_upstreams_tool_calls_arrive(
    ollama_server: Served, ollama_client: ollama.Client, stream: str
) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer(stream)])
    parts = list(ollama_client.chat("llama3.2:1b", HELLO, tools=[WEATHER], stream=True))
    names = [call.function.name for part in parts for call in part.message.tool_calls or []]
    assert names[0] == "get_weather"
    assert len(names) == 2


def test_an_ollama_upstreams_error_in_mid_stream_raises(ollama_server: Served, ollama_client: ollama.Client) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ndjson_reply(golden("ollama/error-midstream.ndjson"))])
    with pytest.raises(ollama.ResponseError, match="an error was encountered while running the model"):
        list(ollama_client.chat("llama3.2:1b", HELLO, stream=True))


def test_an_ollama_upstream_embeds(ollama_server: Served, ollama_client: ollama.Client) -> None:
    reply = {"model": "llama3.2:1b", "embeddings": [[0.6, 0.8]], "total_duration": 5, "prompt_eval_count": 2}
    ollama_server.upstream.script("POST /api/embed", [json_reply(reply)])
    assert list(ollama_client.embed("llama3.2:1b", "one").embeddings[0]) == pytest.approx([0.6, 0.8])
