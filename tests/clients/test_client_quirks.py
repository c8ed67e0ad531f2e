"""What each client is known to break on, or to send: one entry a row, named after the client.

The clients that can be installed here are run in the other modules of this folder; this one stands for the others, and
keeps each finding even when its client changes. Who calls, and the keys they carry, is `test_client_keys.py`'s.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.clients.mistral_schema import image_urls, pairs_calls_with_results, sent, stays_in_mistrals_schema
from tests.clients.questions import EMBED, HELLO, PLAIN, PNG, PNG_URI, SMALL, WEATHER
from tests.clients.scripts import (
    CHAT,
    EMBEDDINGS,
    answer,
    calling_answer,
    embeddings,
    mistral_error,
    reasoning_answer,
    thinking_answer,
    tool_call,
)
from tests.clients.served import CLIENT_SECONDS, Served
from tests.fakes.scripted_upstream import json_reply

Json = dict[str, Any]
COUNTS = ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")
CALLS = [tool_call("gSIMJiOkT", "get_weather", city="Paris"), tool_call("Qz81LmB0x", "get_time")]


@pytest.fixture
def wire(mistral: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mistral.url, timeout=CLIENT_SECONDS, trust_env=False) as one:
        yield one


# --- what a reply must hold or must not hold


@dataclass
class Recorded:
    """One reply of each kind, as clients get them."""

    raw: dict[str, httpx.Response] = field(default_factory=dict)

    def lines(self, *names: str) -> list[Json]:
        """Return every JSON value of the replies whose names begin so."""
        chosen = [reply for name, reply in self.raw.items() if name.startswith(names)]
        return [json.loads(line) for reply in chosen for line in reply.content.split(b"\n") if line]

    @property
    def tags(self) -> list[Json]:
        return list(self.raw["tags"].json()["models"])

    @property
    def chat(self) -> list[Json]:
        return self.lines("chat")

    @property
    def lasts(self) -> list[Json]:
        return [line for line in self.lines("chat", "generate") if line["done"]]

    @property
    def calls(self) -> list[Json]:
        return [call for line in self.chat for call in line["message"].get("tool_calls", [])]


def record(served: Served, model: str, embedder: str, thinks: Any) -> Recorded:
    upstream, got = served.upstream, Recorded()
    upstream.reset()
    with httpx.Client(base_url=served.url, timeout=CLIENT_SECONDS, trust_env=False) as client:

        def ask(name: str, path: str, **body: Any) -> None:
            got.raw[name] = client.post(path, json=body) if body else client.get(path)

        for name, script, more in (
            ("text", answer("Sal", "ut"), {}),
            ("thinking", thinks("Hm.", "4"), {"think": True}),
            ("calls", calling_answer(*CALLS), {"tools": [WEATHER]}),
        ):
            upstream.script(CHAT, [script])
            for stream in (True, False):
                ask(f"chat {name} {stream}", "/api/chat", model=model, messages=HELLO, stream=stream, **more)
        upstream.script(CHAT, [answer("Sal", "ut")])
        for stream in (True, False):
            ask(f"generate {stream}", "/api/generate", model=model, prompt="Hi", stream=stream)
        upstream.script(EMBEDDINGS, [embeddings([3.0, 4.0])])
        ask("embed", "/api/embed", model=embedder, input="one")
        ask("older embeddings", "/api/embeddings", model=embedder, prompt="one")
        for path in ("tags", "ps", "version"):
            ask(path, f"/api/{path}")
        for entry in got.tags:
            ask(f"show {entry['model']}", "/api/show", model=entry["model"])
        ask("error nope", "/api/chat", model="nope", messages=HELLO)
        upstream.script(CHAT, [mistral_error("400-context-too-long.json")])
        ask("error upstream", "/api/chat", model=model, messages=HELLO)
    return got


@pytest.fixture(scope="session")
def recorded_mistral(mistral_process: Served) -> Recorded:
    return record(mistral_process, SMALL, EMBED, thinking_answer)


@pytest.fixture(scope="session")
def recorded_vllm(vllm_process: Served) -> Recorded:
    return record(vllm_process, "qwen3", "qwen3", reasoning_answer)


@pytest.fixture(params=["mistral", "vllm"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    got = request.getfixturevalue(f"recorded_{request.param}")
    assert isinstance(got, Recorded)
    return got


def nulls(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(nulls, inside))


def numbers(text: str) -> list[int]:
    """Read a version as Open WebUI does, and as .NET's `Version.Parse`."""
    return [int(part) for part in text.split(".")]


def all_of(values: list[Any], holds: Callable[[Any], bool]) -> bool:
    """Tell whether there are values and each of them is right."""
    return bool(values) and all(map(holds, values))


def has_context(shown: Json) -> bool:
    info = shown["model_info"]
    keys = [key for key in info if "context_length" in key]
    return keys == [f"{info['general.architecture']}.context_length"] and type(info[keys[0]]) is int


def is_moment(text: Any) -> bool:
    """Tell whether OllamaKit's and Zed's strict parsers read the date: a fraction, and a zone."""
    return "." in text and datetime.fromisoformat(text).tzinfo is not None


# Who breaks, what breaks them, and what must be so.
REPLIES: list[tuple[str, str, Callable[[Recorded], bool]]] = [
    # tags
    ("Open WebUI, n8n", "tags without name", lambda r: all_of(r.tags, lambda m: isinstance(m["name"], str))),
    ("Open WebUI, LangChain, llm", "tags without model", lambda r: all_of(r.tags, lambda m: m["model"] == m["name"])),
    ("Open WebUI", "names without a tag", lambda r: all_of(r.tags, lambda m: ":" in m["name"])),
    ("llm, ollama CLI", "no or short digest", lambda r: all_of(r.tags, lambda m: len(m["digest"]) == 64)),
    ("llm", "two models with one digest", lambda r: len({m["digest"] for m in r.tags}) == len(r.tags)),
    ("oterm, Zed, OllamaKit", "tags without size", lambda r: all_of(r.tags, lambda m: type(m["size"]) is int)),
    ("ollama-python", "an empty modified_at", lambda r: all_of(r.tags, lambda m: bool(m["modified_at"]))),
    ("OllamaKit, Spring AI", "a date no strict parser reads",
     lambda r: all_of(r.tags, lambda m: is_moment(m["modified_at"]))),
    ("Zed, Roo Code, OllamaKit", "no details", lambda r: all_of(r.tags, lambda m: all(
        isinstance(m["details"][key], str) for key in ("format", "family", "parameter_size", "quantization_level")))),
    ("OllamaKit", "details without families", lambda r: all_of(r.tags, lambda m: bool(m["details"]["families"]))),
    # show, of every listed model
    ("Copilot, LlamaIndex, llm", "a listed model that cannot be shown",
     lambda r: all_of(r.tags, lambda m: r.raw[f"show {m['model']}"].status_code == 200)),
    ("ollama-python, oterm, LlamaIndex", "no model_info",
     lambda r: all_of(r.lines("show"), lambda s: isinstance(s["model_info"], dict))),
    ("Copilot, LlamaIndex, Zed", "no context length, or two", lambda r: all_of(r.lines("show"), has_context)),
    ("Copilot", "no basename",
     lambda r: all_of(r.lines("show"), lambda s: isinstance(s["model_info"]["general.basename"], str))),
    ("llm, oterm, Copilot", "no capabilities", lambda r: all_of(r.lines("show"), lambda s: bool(s["capabilities"]))),
    ("Roo Code", "show without details",
     lambda r: all_of(r.lines("show"), lambda s: {"family", "parameter_size"} <= s["details"].keys())),
    ("LiteLLM, aider, DSPy", "no .Tools in the template of a model with tools", lambda r: all_of(
        r.lines("show"), lambda s: (".Tools" in s["template"]) == ("tools" in s["capabilities"]))),
    ("Continue", "no .Suffix in the template of a model that fills in", lambda r: all_of(
        r.lines("show"), lambda s: (".Suffix" in s["template"]) == ("insert" in s["capabilities"]))),
    # version
    ("Open WebUI, OllamaSharp", "a version that is not x.y.z",
     lambda r: len(numbers(r.raw["version"].json()["version"])) == 3),
    ("Copilot", "a version below 0.6.4", lambda r: numbers(r.raw["version"].json()["version"]) >= [0, 14, 0]),
    # chat
    ("ollama-python, LangChain, Haystack", "no message.role",
     lambda r: all_of(r.chat, lambda c: c["message"]["role"] == "assistant")),
    ("ollama-js, LiteLLM, Open WebUI", "no or null content",
     lambda r: all_of(r.chat, lambda c: isinstance(c["message"]["content"], str))),
    ("ollama-js, LangChain.js, Vercel", "no done", lambda r: all_of(r.chat, lambda c: isinstance(c["done"], bool))),
    ("ollama-ai-provider-v2, ollama-python", "no created_at, or a number",
     lambda r: all_of(r.lines("chat", "generate"), lambda c: is_moment(c["created_at"]))),
    ("LiteLLM, ollama-ai-provider-v2", "no model",
     lambda r: all_of(r.lines("chat", "generate"), lambda c: isinstance(c["model"], str))),
    ("Haystack, Open WebUI", "no counts, or null ones",
     lambda r: all_of(r.lasts, lambda c: all(type(c[name]) is int and c[name] > 0 for name in COUNTS))),
    ("ollama-ai-provider-v2", "null thinking or done_reason",
     lambda r: all_of(r.lasts, lambda c: isinstance(c["done_reason"], str)) and not any(map(nulls, r.chat))),
    ("ollama-js, LangChain.js, LiteLLM", "an error key in a good reply",
     lambda r: all_of(r.lines("chat", "generate"), lambda c: "error" not in c)),
    ("ollama-python, Haystack, Copilot", "arguments in a string",
     lambda r: all_of(r.calls, lambda c: isinstance(c["function"]["arguments"], dict))),
    ("LiteLLM, claude-code-proxy", "a call without id or index",
     lambda r: all_of(r.calls, lambda c: isinstance(c["id"], str) and type(c["function"]["index"]) is int)),
    ("ollama-ai-provider-v2, Haystack", "done_reason tool_calls",
     lambda r: all_of(r.lasts, lambda c: c["done_reason"] == "stop")),
    # generate and embed
    ("ollama-ai-provider-v2, ComfyUI", "no or null context", lambda r: all_of(
        [line for line in r.lines("generate") if line["done"]], lambda g: isinstance(g["context"], list))),
    ("ollama-ai-provider-v2, LiteLLM", "embed without its numbers", lambda r: all(
        type(r.raw["embed"].json()[key]) is int for key in ("total_duration", "load_duration", "prompt_eval_count"))),
    ("ollama-ai-provider-v2", "embed without model", lambda r: isinstance(r.raw["embed"].json()["model"], str)),
    ("Open WebUI, older apps", "one of the two embedding routes missing", lambda r: (
        len(r.raw["embed"].json()["embeddings"]) == 1 and len(r.raw["older embeddings"].json()["embedding"]) == 2)),
    # everything
    ("Open WebUI", "JSON under another content type", lambda r: all_of(
        [reply for name, reply in r.raw.items() if not name.endswith("True")],
        lambda reply: reply.headers["content-type"].startswith("application/json"))),
    ("ollama-python, LangChain, Open WebUI", "a blank line in a stream", lambda r: all_of(
        [reply for name, reply in r.raw.items() if name.endswith("True")],
        lambda reply: b"" not in reply.content.split(b"\n")[:-1])),
    ("all clients", "an error that is no string", lambda r: all_of(
        r.lines("error"), lambda e: isinstance(e["error"], str) and bool(e["error"]))),
    ("ollama-js", "an error whose content type is not JSON", lambda r: all_of(
        [reply for name, reply in r.raw.items() if name.startswith("error")],
        lambda reply: "application/json" in reply.headers["content-type"])),
    ("all clients", "a null anywhere", lambda r: not any(map(nulls, r.lines("")))),
]  # fmt: skip


@pytest.mark.parametrize(
    "holds", [holds for _, _, holds in REPLIES], ids=[f"{client}: {what}" for client, what, _ in REPLIES]
)
def test_no_reply_is_one_that_a_client_breaks_on(recorded: Recorded, holds: Callable[[Recorded], bool]) -> None:
    assert holds(recorded)


# --- tool turns as clients send them back

FUNCTIONS: list[Json] = [{"name": "get_weather", "arguments": {"city": "Paris"}}, {"name": "get_time", "arguments": {}}]
NAMES, IDS = ["get_weather", "get_time"], ["gSIMJiOkT", "Qz81LmB0x"]
UUIDS = ["5a6b7c8d-1111-4222-8333-444455556666", "9e8d7c6b-1111-4222-8333-444455556666"]
TEXTS = {"get_weather": "22 degrees", "get_time": "noon"}


def turns(assistant: Json, calls: list[Json], results: list[Json]) -> list[Json]:
    """Build a history: the calls belong to `FUNCTIONS` in order, and so do the results."""
    whole = [
        {**call, "function": {**call.get("function", {}), **given}}
        for call, given in zip(calls, FUNCTIONS, strict=True)
    ]
    told = [{"role": "tool", "content": TEXTS[name], **result} for name, result in zip(NAMES, results, strict=True)]
    return [*HELLO, {"role": "assistant", "tool_calls": whole, **assistant}, *told]


def each(key: str, values: list[str], **more: Any) -> list[Json]:
    return [{key: value, **more} for value in values]


NONE: list[Json] = [{}, {}]
OPEN_WEBUI_CALLS: list[Json] = [{"index": i, "id": ident, "type": "function"} for i, ident in enumerate(IDS)]
HISTORIES: dict[str, list[Json]] = {
    "ollama-python, LangChain": turns({}, NONE, NONE),
    "llm, n8n": turns({}, NONE, each("tool_name", NAMES)),
    "LlamaIndex, Haystack, Home Assistant": turns({"content": ""}, NONE, NONE),
    "LiteLLM": turns({"content": "", "images": []}, NONE, each("tool_call_id", IDS, images=[])),
    "LangChain.js": turns({"content": ""}, each("id", UUIDS, type="function"), NONE),
    "Open WebUI": turns({"content": ""}, OPEN_WEBUI_CALLS, each("tool_call_id", IDS)),
    "ollama-ai-provider-v2": turns({"content": ""}, each("id", IDS, type="function"), each("tool_call_id", IDS)),
    "ai-sdk-ollama": turns({"content": ""}, each("id", IDS, type="function"), each("tool_name", NAMES)),
    "Cline CLI": turns(
        {"content": ""},
        each("id", UUIDS, type="function"),
        [{"tool_call_id": ident, "tool_name": name} for ident, name in zip(UUIDS, NAMES, strict=True)],
    ),
    "results in the other order, by id": [
        *(whole := turns({}, each("id", UUIDS), each("tool_call_id", UUIDS)))[:2],
        *reversed(whole[2:]),
    ],
    "results in the other order, by name": [
        *(whole := turns({}, NONE, each("tool_name", NAMES)))[:2],
        *reversed(whole[2:]),
    ],
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_clients_tool_turns_reach_mistral_matched(mistral: Served, wire: httpx.Client, history: list[Json]) -> None:
    mistral.upstream.script(CHAT, [answer("22 degrees at noon.")])
    body = {"model": SMALL, "messages": history, "tools": [WEATHER], "stream": False}
    assert wire.post("/api/chat", json=body).status_code == 200
    forwarded = sent(mistral)
    stays_in_mistrals_schema(forwarded)
    assert pairs_calls_with_results(forwarded["messages"]) == TEXTS


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_a_clients_tool_turns_reach_vllm_matched(vllm: Served, history: list[Json]) -> None:
    vllm.upstream.script(CHAT, [answer("22 degrees at noon.")])
    body = {"model": "qwen3", "messages": history, "tools": [WEATHER], "stream": False}
    assert httpx.post(f"{vllm.url}/api/chat", json=body, timeout=CLIENT_SECONDS, trust_env=False).status_code == 200
    assert pairs_calls_with_results(sent(vllm)["messages"], any_id=True) == TEXTS


# --- other habits of requests

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Weather",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "city": {"type": "string", "default": "Paris", "title": "City"},
        "unit": {"const": "C"},
        "day": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
    },
}
PICTURE = base64.b64encode(PNG).decode()
CHATS: dict[str, Json] = {
    "LangChain.js: text and image in two messages": {
        "messages": [*HELLO, {"role": "user", "content": "", "images": [PICTURE]}]
    },
    "LiteLLM: images in every message": {
        "messages": [{"role": "system", "content": "Be brief.", "images": []}, {**HELLO[0], "images": []}]
    },
    "Vercel: a schema with all that zod writes": {
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}]
    },
    "Cline: a tool without parameters": {
        "tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    },
    "Open WebUI: 36 tools": {
        "tools": [
            {"type": "function", "function": {**WEATHER["function"], "name": f"tool_{i}", "description": "x" * 600}}
            for i in range(36)
        ]
    },
    "Cline, v2: tool_choice": {"tool_choice": "auto", "options": {"num_ctx": 32768}},
    "LangChain: options full of nulls": {
        "truncate": True,
        "options": dict.fromkeys(("mirostat", "num_ctx", "seed", "stop", "top_k")),
    },
    "Haystack, Home Assistant: think false": {"think": False, "keep_alive": -1},
    "Home Assistant: an empty format": {"format": "", "keep_alive": "60s"},
    "AnythingLLM: options of its own": {"options": {"useMLock": True, "numCtx": 8192, "temperature": 0.7}},
    "Continue: half an hour": {"keep_alive": 1800, "raw": False},
}  # fmt: skip


@pytest.mark.parametrize("more", CHATS.values(), ids=CHATS)
def test_what_a_client_sends_besides_is_taken(mistral: Served, wire: httpx.Client, more: Json) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    reply = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, "stream": False, **more})
    assert (reply.status_code, reply.json()["message"]["content"]) == (200, "Salut")
    body = sent(mistral)
    stays_in_mistrals_schema(body)
    assert len(body.get("tools", [])) == len(more.get("tools", []))


def test_langchain_js_gets_its_image_to_mistral(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("A pixel.")])
    wire.post("/api/chat", json={"model": SMALL, **CHATS["LangChain.js: text and image in two messages"]})
    users = [message for message in sent(mistral)["messages"] if isinstance(message["content"], list)]
    assert [url for user in users for url in image_urls(user)] == [PNG_URI]


def test_a_schemas_own_words_reach_the_upstream(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    more = CHATS["Vercel: a schema with all that zod writes"]
    wire.post("/api/chat", json={"model": SMALL, "messages": HELLO, **more})
    (tool,) = sent(mistral)["tools"]
    assert tool["function"]["parameters"] == {key: value for key, value in SCHEMA.items() if key != "$schema"}


@pytest.mark.parametrize(
    ("client", "method", "path", "body"),
    [
        ("Open WebUI unloads", "POST", "/api/generate", {"model": PLAIN, "keep_alive": 0, "prompt": ""}),
        ("Open WebUI pulls", "POST", "/api/pull", {"name": PLAIN, "insecure": True}),
        ("Open WebUI embeds nothing", "POST", "/api/embed", {"model": EMBED, "input": [], "truncate": True}),
        ("Open WebUI lists with a content type", "GET", "/api/tags", None),
        ("LiteLLM, Continue show by name", "POST", "/api/show", {"name": SMALL}),
        ("Enchanted probes", "HEAD", "/", None),
        ("JetBrains probes", "GET", "/", None),
        ("parllama polls", "GET", "/api/ps", None),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_a_clients_calls_besides_chat_are_answered(
    mistral: Served, wire: httpx.Client, client: str, method: str, path: str, body: Json | None
) -> None:
    headers = {"content-type": "application/json", "authorization": "Bearer ollama"}
    reply = wire.request(method, path, json=body, headers=headers)
    assert (reply.status_code, mistral.upstream.posts()) == (200, []), client


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*", "text/html"])
def test_spring_ai_streams_whatever_it_says_it_accepts(mistral: Served, wire: httpx.Client, accept: str) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    reply = wire.post("/api/chat", json={"model": SMALL, "messages": HELLO}, headers={"accept": accept})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson")


def test_ollama_js_fetches_from_a_server_as_a_browser_would(mistral: Served, wire: httpx.Client) -> None:
    mistral.upstream.script(CHAT, [answer("Salut")])
    headers = {"sec-fetch-mode": "cors", "accept-language": "*"}
    assert wire.post("/api/chat", json={"model": SMALL, "messages": HELLO}, headers=headers).status_code == 200


ORIGINS = ["http://localhost", "http://127.0.0.1:3000", "app://obsidian.md", "tauri://localhost", "file://index.html",
           "vscode-webview://1a2b"]  # fmt: skip


@pytest.mark.parametrize("origin", ORIGINS)
def test_obsidian_and_other_pages_on_the_users_machine_may_call(wire: httpx.Client, origin: str) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    preflight = wire.options("/api/chat", headers=asked)
    reply = wire.get("/api/tags", headers={"origin": origin})
    assert (preflight.status_code, reply.status_code) == (204, 200)
    assert preflight.headers["access-control-allow-origin"] == reply.headers["access-control-allow-origin"] == origin


def test_open_webui_sees_the_gateway_while_its_backend_fails(fresh_mistral: Served) -> None:
    fresh_mistral.upstream.script("GET /v1/models", [json_reply({"message": "down"}, 500)])
    for path in ("/api/version", "/api/ps"):
        reply = httpx.get(f"{fresh_mistral.url}{path}", timeout=CLIENT_SECONDS, trust_env=False)
        assert reply.status_code == 200, path
