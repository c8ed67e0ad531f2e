"""The official JavaScript SDK, unchanged, pointed at the gateway; node makes one call and prints what it got."""

import base64
import json
import time
from typing import Any

import pytest

from tests.clients.libraries import JS, Call
from tests.clients.mistral_schema import image_urls, pairs_calls_with_results, sent, stays_in_mistrals_schema
from tests.clients.questions import CODE, EMBED, HELLO, PLAIN, PNG, PNG_URI, SMALL, WEATHER
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
    thinking_answer,
    tool_call,
)
from tests.clients.served import Served
from tests.fakes.scripted_upstream import sse_reply

WAIT_SECONDS = 10.0


def joined(got: dict[str, Any], key: str = "content") -> str:
    assert "error" not in got, got
    return "".join(part["message"].get(key, "") for part in got["parts"])


def test_the_lock_pins_what_is_installed_and_names_no_host() -> None:
    locked = json.loads((JS / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    installed = {name: package for name, package in locked.items() if name}
    assert "node_modules/ollama" in installed
    assert all(package["integrity"].startswith("sha512-") for package in installed.values())
    assert all("resolved" not in package for package in installed.values())


def test_every_listed_model_is_shown(mistral: Served, call: Call) -> None:
    models = call(mistral, "list")["result"]["models"]
    assert f"{PLAIN}:latest" in [model["name"] for model in models]
    shown = call(mistral, "show", {"model": models[0]["model"]})["result"]
    assert shown["model_info"][f"{shown['model_info']['general.architecture']}.context_length"] > 0


def test_ps_and_version_answer(mistral: Served, call: Call) -> None:
    assert isinstance(call(mistral, "ps")["result"]["models"], list)
    assert len(call(mistral, "version")["result"]["version"].split(".")) == 3


def test_chat_gives_the_whole_text(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [answer("Bon", "jour")])
    reply = call(mistral, "chat", {"model": SMALL, "messages": HELLO})["result"]
    assert reply["message"] == {"role": "assistant", "content": "Bonjour"}
    assert (reply["done"], reply["done_reason"], reply["eval_count"]) == (True, "stop", 5)
    stays_in_mistrals_schema(sent(mistral))


def test_streamed_chat_gives_the_deltas_and_ends(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [sse_reply(golden("mistral/text.sse"))])
    got = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "stream": True})
    assert joined(got) == golden_text("mistral/text.sse")
    assert [part["done"] for part in got["parts"]][-2:] == [False, True]


def test_text_of_any_script_arrives_whole(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [answer("é\u2028", "日本", "🎉")])
    got = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "stream": True})
    assert joined(got) == "é\u2028日本🎉"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_round_trip_reaches_mistral_with_matching_ids(mistral: Served, call: Call, *, stream: bool) -> None:
    calls = [tool_call("gSIMJiOkT", "get_weather", city="Paris"), tool_call("Qz81LmB0x", "get_time")]
    mistral.upstream.script(CHAT, [calling_answer(*calls), answer("22 degrees at noon.")])
    got = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "tools": [WEATHER], "stream": stream})
    parts = got["parts"] if stream else [got["result"]]
    asked = [one for part in parts for one in part["message"].get("tool_calls", [])]
    assert [one["function"]["arguments"] for one in asked] == [{"city": "Paris"}, {}]
    turn = {"role": "assistant", "content": "", "tool_calls": asked}
    results = [
        {"role": "tool", "tool_name": "get_time", "content": "noon"},
        {"role": "tool", "tool_name": "get_weather", "content": "22 degrees"},
    ]
    second = call(mistral, "chat", {"model": SMALL, "messages": [*HELLO, turn, *results], "tools": [WEATHER]})
    assert second["result"]["message"]["content"] == "22 degrees at noon."
    body = mistral.upstream.calls(CHAT)[1].body
    stays_in_mistrals_schema(body)
    assert pairs_calls_with_results(body["messages"]) == {"get_weather": "22 degrees", "get_time": "noon"}


def test_thinking_is_told_apart_from_the_answer(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [thinking_answer("2+2 is 4.", "4")])
    got = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "think": True, "stream": True})
    assert (joined(got, "thinking"), joined(got)) == ("2+2 is 4.", "4")


def test_images_reach_mistral_as_data_uris(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    picture = base64.b64encode(PNG).decode()
    question = {"role": "user", "content": "What is this?", "images": [picture]}
    assert "error" not in call(mistral, "chat", {"model": SMALL, "messages": [question]})
    (message,) = sent(mistral)["messages"]
    assert image_urls(message) == [PNG_URI]


@pytest.mark.parametrize("stream", [False, True])
def test_generate_answers_a_prompt(mistral: Served, call: Call, *, stream: bool) -> None:
    mistral.upstream.script(CHAT, [answer("The", " sky")])
    got = call(mistral, "generate", {"model": SMALL, "prompt": "Why?", "stream": stream})
    parts = got["parts"] if stream else [got["result"]]
    assert "".join(part["response"] for part in parts) == "The sky"
    assert parts[-1]["done"] is True


def test_generate_with_a_suffix_fills_in_the_middle(mistral: Served, call: Call) -> None:
    mistral.upstream.script(FIM, [answer("a + b")])
    got = call(mistral, "generate", {"model": CODE, "prompt": "return ", "suffix": "\n"})
    assert got["result"]["response"] == "a + b"


def test_embed_and_the_older_embeddings_return_vectors(mistral: Served, call: Call) -> None:
    mistral.upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0], [1.0, 0.0]), embeddings([3.0, 4.0])])
    several = call(mistral, "embed", {"model": EMBED, "input": ["one", "two"]})["result"]["embeddings"]
    assert several == [pytest.approx([0.6, 0.8]), pytest.approx([1.0, 0.0])]
    assert call(mistral, "embeddings", {"model": EMBED, "prompt": "one"})["result"]["embedding"] == [3.0, 4.0]


def test_pulling_a_known_model_succeeds(mistral: Served, call: Call) -> None:
    assert call(mistral, "pull", {"model": SMALL})["result"] == {"status": "success"}
    assert call(mistral, "pull", {"model": SMALL, "stream": True})["parts"][-1] == {"status": "success"}


@pytest.mark.parametrize("stream", [False, True])
def test_pulling_an_unknown_model_throws(mistral: Served, call: Call, *, stream: bool) -> None:
    error = call(mistral, "pull", {"model": "nope", "stream": stream})["error"]
    assert error["message"] == "pull model manifest: file does not exist"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_answer_keeps_its_text_and_status(mistral: Served, call: Call, *, stream: bool) -> None:
    error = call(mistral, "chat", {"model": "nope", "messages": HELLO, "stream": stream})["error"]
    assert error == {"name": "ResponseError", "message": "model 'nope' not found", "status": 404}


def test_an_upstreams_refusal_keeps_its_words(mistral: Served, call: Call) -> None:
    mistral.upstream.script(CHAT, [mistral_error("400-context-too-long.json")])
    error = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "stream": True})["error"]
    assert error["status"] == 400
    assert "159202 tokens" in error["message"]


def test_a_failure_in_mid_stream_throws_after_the_text_so_far(failing_mistral: Served, call: Call) -> None:
    failing_mistral.upstream.script(CHAT, [sse_reply(golden("mistral/error-object.sse"), delay=0.05)])
    got = call(failing_mistral, "chat", {"model": SMALL, "messages": HELLO, "stream": True})
    assert [part["message"]["content"] for part in got["parts"]] == ["Par"]
    assert "Service unavailable." in got["error"]["message"]


def test_an_abort_stops_the_upstreams_work(mistral: Served, call: Call) -> None:
    first, second, *_ = golden("mistral/text.sse").split(b"\n\n")
    endless = sse_reply(first + b"\n\n" + (second + b"\n\n") * 600, delay=0.02)
    mistral.upstream.script(CHAT, [endless])
    got = call(mistral, "chat", {"model": SMALL, "messages": HELLO, "stream": True}, abort_after=2)
    assert got["error"]["name"] == "AbortError"
    assert 2 <= len(got["parts"]) < 100, "what was read together may still be given, the rest never comes"
    deadline = time.monotonic() + WAIT_SECONDS
    while not mistral.upstream.disconnects and time.monotonic() < deadline:
        time.sleep(0.02)
    assert mistral.upstream.disconnects == 1


def test_an_ollama_upstream_answers_alike(ollama_server: Served, call: Call) -> None:
    ollama_server.upstream.script(OLLAMA_CHAT, [ollama_answer("chat-text")])
    got = call(ollama_server, "chat", {"model": "llama3.2:1b", "messages": HELLO, "stream": True})
    assert joined(got) == golden_text("ollama/chat-text.ndjson")
