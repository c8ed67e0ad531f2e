"""Every client shows a key in the ways that docs/clients.md tells, and is refused without one."""

import importlib
from typing import Any

import httpx
import ollama
import pytest

from tests.clients.libraries import LITELLM_WARNINGS, Call, LiteLLM, LlamaIndex
from tests.clients.questions import EMBED, HELLO, SMALL
from tests.clients.served import CLIENT_SECONDS, KEY, Served

BEARER = {"Authorization": f"Bearer {KEY}"}
REFUSED = 401


def in_path(served: Served) -> str:
    """Return the address that holds the key."""
    return f"{served.url}/k/{KEY}"


def in_user_info(served: Served) -> str:
    """Return the address that some clients turn into Basic."""
    return served.url.replace("http://", f"http://me:{KEY}@")


FORMS = {"path": lambda served: (in_path(served), {}), "Bearer": lambda served: (served.url, BEARER)}
form = pytest.mark.parametrize("form", FORMS)


# --- Python SDK


@form
def test_the_python_sdk_shows_its_key(keyed: Served, form: str) -> None:
    host, headers = FORMS[form](keyed)
    with ollama.Client(host, headers=headers, timeout=CLIENT_SECONDS, trust_env=False) as client:
        assert client.list().models
        assert client.chat(SMALL, HELLO).message.content == "Bonjour"


def test_the_python_sdk_takes_its_key_from_the_environment(keyed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", keyed.url)
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    with ollama.Client(timeout=CLIENT_SECONDS, trust_env=False) as client:
        assert client.chat(SMALL, HELLO).message.content == "Bonjour"


def test_the_python_sdk_takes_its_path_from_the_environment(keyed: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", in_path(keyed))
    with ollama.Client(timeout=CLIENT_SECONDS, trust_env=False) as client:
        assert client.chat(SMALL, HELLO).message.content == "Bonjour"


@pytest.mark.parametrize("address", [lambda served: served.url, in_user_info], ids=["no key", "user info"])
def test_the_python_sdk_without_a_key_it_can_send_is_refused(keyed: Served, address: Any) -> None:
    with (
        ollama.Client(address(keyed), timeout=CLIENT_SECONDS, trust_env=False) as client,
        pytest.raises(ollama.ResponseError) as caught,
    ):
        client.chat(SMALL, HELLO)
    assert caught.value.status_code == REFUSED
    assert keyed.upstream.posts() == []


# --- JavaScript SDK


@form
def test_the_javascript_sdk_shows_its_key(keyed: Served, call: Call, form: str) -> None:
    host, headers = FORMS[form](keyed)
    got = call(keyed, "chat", {"model": SMALL, "messages": HELLO, "stream": True}, host=host, headers=headers)
    assert "".join(part["message"]["content"] for part in got["parts"]) == "Bonjour"


def test_the_javascript_sdk_without_a_key_is_refused(keyed: Served, call: Call) -> None:
    assert call(keyed, "list")["error"]["status"] == REFUSED


# --- LangChain, LlamaIndex, LiteLLM


@pytest.mark.parametrize("form", [*FORMS, "user info"])
def test_langchain_shows_its_key(keyed: Served, form: str) -> None:
    host, headers = (in_user_info(keyed), {}) if form == "user info" else FORMS[form](keyed)
    langchain: Any = importlib.import_module("langchain_ollama")
    more = {"base_url": host, "client_kwargs": {"headers": headers, "trust_env": False}}
    assert langchain.ChatOllama(model=SMALL, **more).invoke("Say hello.").content == "Bonjour"
    assert langchain.OllamaEmbeddings(model=EMBED, **more).embed_query("one") == pytest.approx([0.6, 0.8])


@form
def test_llama_index_shows_its_key(keyed: Served, index: LlamaIndex, form: str) -> None:
    host, headers = FORMS[form](keyed)
    model = index.llms.Ollama(model=SMALL, base_url=host, headers=headers, request_timeout=CLIENT_SECONDS)
    assert model.complete("Say hello.").text == "Bonjour"


@LITELLM_WARNINGS
@pytest.mark.parametrize("way", ["ollama_chat", "ollama"])
@pytest.mark.parametrize("form", ["path", "api_key", "user info"])
def test_litellm_shows_its_key(keyed: Served, litellm: LiteLLM, way: str, form: str) -> None:
    base = {"path": in_path, "api_key": lambda served: served.url, "user info": in_user_info}[form](keyed)
    key = KEY if form == "api_key" else None
    reply = litellm.module.completion(f"{way}/{SMALL}", messages=HELLO, api_base=base, api_key=key, max_retries=0)
    assert reply.choices[0].message.content == "Bonjour"


@pytest.mark.parametrize("address", [in_path, in_user_info])
def test_litellms_embeddings_show_their_key_in_the_address(keyed: Served, litellm: LiteLLM, address: Any) -> None:
    reply = litellm.module.embedding(f"ollama/{EMBED}", input=["one"], api_base=address(keyed))
    assert reply.data[0]["embedding"] == pytest.approx([0.6, 0.8])


# --- OpenAI's and Anthropic's SDKs, which always send a key: a placeholder where none was set


@pytest.mark.parametrize(("form", "key"), [("path", "ollama"), ("Bearer", KEY)])
def test_openais_sdk_shows_its_key(keyed: Served, form: str, key: str) -> None:
    openai: Any = importlib.import_module("openai")
    base = f"{FORMS[form](keyed)[0]}/v1"
    with openai.OpenAI(base_url=base, api_key=key, timeout=CLIENT_SECONDS, max_retries=0) as client:
        reply = client.chat.completions.create(model=SMALL, messages=HELLO)
        assert reply.choices[0].message.content == "Bonjour"
        assert SMALL in {model.id.removesuffix(":latest") for model in client.models.list()}


@pytest.mark.parametrize("carrier", ["api_key", "auth_token", "path"])
def test_anthropics_sdk_shows_its_key(keyed: Served, carrier: str) -> None:
    anthropic: Any = importlib.import_module("anthropic")
    base = in_path(keyed) if carrier == "path" else keyed.url
    shown = {"auth_token": "ollama"} if carrier == "path" else {carrier: KEY}
    with anthropic.Anthropic(base_url=base, timeout=CLIENT_SECONDS, max_retries=0, **shown) as client:
        reply = client.messages.create(model=SMALL, messages=HELLO, max_tokens=16)
    assert reply.content[0].text == "Bonjour"


# --- curl and whatever else sends headers of its own


@pytest.mark.parametrize(
    "headers",
    [BEARER, {"x-api-key": KEY}, {"Authorization": httpx.BasicAuth("me", KEY)._auth_header}],
    ids=["Bearer", "x-api-key", "Basic"],
)
def test_any_client_may_show_its_key_in_a_header(keyed: Served, headers: dict[str, str]) -> None:
    reply = httpx.get(f"{keyed.url}/api/tags", headers=headers, timeout=CLIENT_SECONDS, trust_env=False)
    assert reply.status_code == 200


@pytest.mark.parametrize("path", ["", "/", "/api/version", "/api/tags"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_ollama_command_probes_answers_below_the_key(keyed: Served, method: str, path: str) -> None:
    reply = httpx.request(method, f"{in_path(keyed)}{path}", timeout=CLIENT_SECONDS, trust_env=False)
    assert reply.status_code == 200


def test_copilots_native_calls_carry_the_key_in_the_path(keyed: Served) -> None:
    with httpx.Client(base_url=in_path(keyed), timeout=CLIENT_SECONDS, trust_env=False) as client:
        shown = client.post("/api/show", json={"model": SMALL}, headers={"user-agent": "GitHubCopilotChat/0.38.0"})
    assert shown.json()["model_info"]["general.basename"] == SMALL
