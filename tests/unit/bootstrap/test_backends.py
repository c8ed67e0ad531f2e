"""From settings to backends."""

from typing import Any

import pytest

from backend.bootstrap import backends as module
from backend.bootstrap.backends import open_backends, plan_backends
from backend.bootstrap.container import open_container
from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError
from backend.providers.demo import DemoProvider
from backend.providers.http import Upstream
from backend.providers.mistral import MistralProvider
from backend.providers.ollama import OllamaProvider
from backend.providers.openai_compatible import OpenAICompatibleProvider


@pytest.fixture(autouse=True)
def _no_local_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nowhere(_settings: Settings) -> bool:
        return False

    monkeypatch.setattr(module, "_finds_local_ollama", nowhere)


def settings(**values: Any) -> Settings:
    return load_settings(None, **values)


def lab(kind: str = "vllm", **more: Any) -> dict[str, Any]:
    return {"lab": {"kind": kind, "base_url": "http://lab:1", **more}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"mistral_api_key": "k"}, {"mistral": ("mistral", "https://api.mistral.ai", "k")}),
        ({"mistral_base_url": "http://eu"}, {}),
        (
            {"mistral_api_key": "k", "mistral_base_url": "http://eu/v1"},
            {"mistral": ("mistral", "http://eu", "k")},
        ),
        (
            {"ollama_base_urls": "http://a,http://b"},
            {"ollama": ("ollama", "http://a", None), "ollama-2": ("ollama", "http://b", None)},
        ),
        (
            {"vllm_base_urls": "http://a/v1,http://b", "vllm_api_key": "k"},
            {"vllm": ("vllm", "http://a", "k"), "vllm-2": ("vllm", "http://b", "k")},
        ),
        ({"vllm_api_key": "k"}, {}),
        ({"openai_api_key": "k"}, {"openai": ("openai", "https://api.openai.com", "k")}),
        ({"openai_base_url": "http://a/v1"}, {"openai": ("generic", "http://a", None)}),
        (
            {"openai_base_url": "https://api.openai.com/v1", "openai_api_key": "k"},
            {"openai": ("openai", "https://api.openai.com", "k")},
        ),
        (
            {"openai_base_url": "https://api.openai.com.evil.test", "openai_api_key": "k"},
            {"openai": ("generic", "https://api.openai.com.evil.test", "k")},
        ),
        ({"backends": lab(api_key="k")}, {"lab": ("vllm", "http://lab:1", "k")}),
        (
            {"mistral_api_key": "k", "ollama_base_urls": "http://a", "backends": lab("llamacpp")},
            {
                "mistral": ("mistral", "https://api.mistral.ai", "k"),
                "ollama": ("ollama", "http://a", None),
                "lab": ("llamacpp", "http://lab:1", None),
            },
        ),
    ],
    ids=str,
)
def test_every_combination_of_names_has_its_plan(values: dict[str, Any], expected: dict[str, Any]) -> None:
    planned = plan_backends(settings(**values))
    found = {
        name: (plan.kind, plan.base_url, plan.api_key and plan.api_key.get_secret_value())
        for name, plan in planned.items()
    }
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("name", ["mistral", "ollama", "ollama-2"])
def test_two_backends_of_one_name_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"two backends are named '{name}'"):
        plan_backends(
            settings(
                mistral_api_key="k",
                ollama_base_urls="http://a,http://b",
                backends={name: {"kind": "vllm", "base_url": "http://c"}},
            )
        )


KINDS = {
    "mistral": MistralProvider,
    "ollama": OllamaProvider,
    **dict.fromkeys(("vllm", "llamacpp", "lmstudio", "openai", "generic"), OpenAICompatibleProvider),
}


async def opened(configured: Settings) -> tuple[list[Any], list[Upstream]]:
    upstreams: list[Upstream] = []
    try:
        return await open_backends(configured, upstreams.append), upstreams
    finally:
        for upstream in upstreams:
            await upstream.aclose()


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_has_its_provider(kind: str) -> None:
    [backend], upstreams = await opened(settings(backends=lab(kind)))
    assert type(backend.lister) is KINDS[kind]
    assert (backend.name, backend.kind) == ("lab", kind)
    assert [upstream.name for upstream in upstreams] == ["lab"]


async def test_without_any_backend_the_demo_answers() -> None:
    [backend], upstreams = await opened(settings())
    assert isinstance(backend.lister, DemoProvider)
    assert upstreams == []


async def test_an_ollama_on_this_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(_settings: Settings) -> bool:
        return True

    monkeypatch.setattr(module, "_finds_local_ollama", here)
    [backend], _ = await opened(settings())
    assert isinstance(backend.lister, OllamaProvider)


@pytest.mark.parametrize("word", ["flying", "Completion", ""])
async def test_an_unknown_capability_is_refused_with_the_known_ones(word: str) -> None:
    with pytest.raises(ConfigurationError, match="the capabilities are completion, tools"):
        await opened(settings(backends=lab(capabilities=["tools", word])))


async def test_stated_capabilities_are_taken() -> None:
    [backend], _ = await opened(settings(backends=lab(capabilities="completion,vision", context_length=5)))
    assert backend.lister._facts.context_length == 5


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"mistral_api_key": "k"}, "MISTRAL_API_KEY"),
        ({"vllm_base_urls": "http://a", "vllm_api_key": "k"}, "VLLM_API_KEY"),
        ({"openai_api_key": "k"}, "OPENAI_API_KEY"),
        ({"openai_base_url": "http://a", "openai_api_key": "k"}, "OPENAI_API_KEY"),
        ({"backends": lab("generic")}, "GATEWAY_BACKENDS__LAB__API_KEY"),
        ({"backends": lab("mistral")}, "GATEWAY_BACKENDS__LAB__API_KEY"),
        ({"backends": lab("vllm")}, "GATEWAY_BACKENDS__LAB__API_KEY"),
    ],
    ids=str,
)
async def test_a_refused_credential_names_the_setting_that_holds_it(values: dict[str, Any], name: str) -> None:
    _, [upstream] = await opened(settings(**values))
    assert upstream._key_name == name


async def test_the_container_opens_and_closes_everything() -> None:
    async with open_container(settings(backends=lab("ollama"))) as container:
        assert [backend.name for backend in container.catalog.backends] == ["lab"]
        assert not container.authenticator.requires_key


async def test_a_container_that_would_be_unsafe_does_not_open() -> None:
    with pytest.raises(ConfigurationError):
        async with open_container(settings(auth="open", server={"host": "0.0.0.0"})):  # noqa: S104
            raise AssertionError
