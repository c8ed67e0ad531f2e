"""Settings -> the configured backends."""

import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from pydantic import SecretStr

from backend.core.config import BackendSettings, Settings
from backend.core.errors import ConfigurationError
from backend.core.logging import get_logger
from backend.features.catalog.backends import Backend, CircuitBreaker
from backend.llm.capabilities import Capability
from backend.llm.errors import ProviderError
from backend.llm.ports import ModelLister
from backend.providers.demo import DemoProvider
from backend.providers.http import Limits, Upstream, open_endpoint, tls_context
from backend.providers.mistral import MistralHabits, MistralProvider
from backend.providers.ollama import OllamaProvider
from backend.providers.openai_compatible import ModelFacts, OpenAICompatibleProvider
from backend.providers.watchdog import Timeouts
from backend.wire.openai.options import Dialect

_log = get_logger(__name__)

LOCAL_OLLAMA = "http://127.0.0.1:11434"
_PROBE_SECONDS = 0.5
_OPENAI = "https://api.openai.com"


def plan_backends(settings: Settings) -> dict[str, BackendSettings]:
    """Return every configured backend by name; empty when nothing is configured."""
    planned: dict[str, BackendSettings] = {}

    def add(name: str, kind: str, urls: tuple[str, ...], key: SecretStr | None = None) -> None:
        for number, url in enumerate(urls, start=1):
            plan = BackendSettings.model_validate({"kind": kind, "base_url": url, "api_key": key})
            planned[name if number == 1 else f"{name}-{number}"] = plan

    if settings.mistral_api_key is not None:
        add("mistral", "mistral", (settings.mistral_base_url,), settings.mistral_api_key)
    add("ollama", "ollama", settings.ollama_base_urls)
    add("vllm", "vllm", settings.vllm_base_urls, settings.vllm_api_key)
    if settings.openai_base_url is not None or settings.openai_api_key is not None:
        url = settings.openai_base_url or _OPENAI
        kind = "openai" if urlsplit(url).hostname == urlsplit(_OPENAI).hostname else "generic"
        add("openai", kind, (url,), settings.openai_api_key)
    for name in settings.backends.keys() & planned.keys():
        raise ConfigurationError(f"two backends are named {name!r}; rename GATEWAY_BACKENDS__{name.upper()}__...")
    return planned | settings.backends


def check_backends(settings: Settings) -> None:
    """Raise `ConfigurationError` for backends that cannot be opened as they are configured."""
    for name, plan in plan_backends(settings).items():
        _stated_capabilities(name, plan)
    if settings.tls.ca_file is not None:
        try:
            tls_context(str(settings.tls.ca_file))
        except OSError:  # also what ssl raises for a file that holds no certificate
            raise ConfigurationError(
                f"GATEWAY_TLS__CA_FILE: {settings.tls.ca_file} is not a readable file of PEM certificates"
            ) from None


async def open_backends(settings: Settings, on_close: Callable[[Upstream], None]) -> list[Backend]:
    """Return the backends, ready to be asked; with none configured, a local Ollama if it answers, else the demo.

    `on_close` is told each upstream that must be closed with the process.
    """
    planned = plan_backends(settings)
    if not planned and await _finds_local_ollama(settings):
        planned = {"ollama": BackendSettings(kind="ollama", base_url=LOCAL_OLLAMA)}
    if not planned:
        _log.warning(
            "no_backend_configured",
            hint="set MISTRAL_API_KEY, OLLAMA_BASE_URLS, VLLM_BASE_URLS or OPENAI_BASE_URL",
        )
        return [_backend("demo", "demo", DemoProvider(), settings)]
    backends = []
    for name, plan in planned.items():
        upstream = open_upstream(name, plan, settings)
        on_close(upstream)
        backends.append(_backend(name, plan.kind, _PROVIDERS[plan.kind](upstream, plan, settings), settings))
    return backends


def _backend(name: str, kind: str, provider: ModelLister, settings: Settings) -> Backend:
    breaker = CircuitBreaker(name, settings.breaker.failures, settings.breaker.open_seconds, time.monotonic)
    return Backend(name, kind, provider, breaker)


def open_upstream(name: str, plan: BackendSettings, settings: Settings) -> Upstream:
    """Return the way to a planned backend; whoever opens it closes it."""
    timeouts = Timeouts(
        settings.timeouts.connect_seconds,
        settings.timeouts.first_byte_seconds,
        settings.timeouts.idle_seconds,
        settings.timeouts.total_seconds,
    )
    endpoint = open_endpoint(
        plan.base_url,
        api_key=None if plan.api_key is None else plan.api_key.get_secret_value(),
        ca_file=None if settings.tls.ca_file is None else str(settings.tls.ca_file),
    )
    limits = Limits(settings.limits.line_bytes, settings.limits.answer_bytes)
    return Upstream(
        name,
        endpoint,
        timeouts,
        limits,
        _key_name(name, settings),
    )


def _open_mistral(upstream: Upstream, _plan: BackendSettings, settings: Settings) -> ModelLister:
    habits = MistralHabits(settings.mistral.extended_sampling, settings.mistral.bridge_after_tool)
    return MistralProvider(upstream, habits, list_timeout=settings.timeouts.list_seconds)


def _open_ollama(upstream: Upstream, _plan: BackendSettings, settings: Settings) -> ModelLister:
    return OllamaProvider(upstream, list_timeout=settings.timeouts.list_seconds)


def _open_compatible(upstream: Upstream, plan: BackendSettings, settings: Settings) -> ModelLister:
    return OpenAICompatibleProvider(
        upstream,
        Dialect(plan.kind),
        ModelFacts(_stated_capabilities(upstream.name, plan), plan.context_length),
        list_timeout=settings.timeouts.list_seconds,
    )


_PROVIDERS: Mapping[str, Callable[[Upstream, BackendSettings, Settings], ModelLister]] = {
    "mistral": _open_mistral,
    "ollama": _open_ollama,
    **dict.fromkeys(map(str, Dialect), _open_compatible),
}


def _key_name(name: str, settings: Settings) -> str:
    """Return the setting that holds a backend's key, for the operator who must correct it."""
    if name in settings.backends:
        return f"GATEWAY_BACKENDS__{name.upper()}__API_KEY"
    return f"{name.partition('-')[0].upper()}_API_KEY"


def _stated_capabilities(name: str, plan: BackendSettings) -> frozenset[Capability] | None:
    if plan.capabilities is None:
        return None
    known = {capability.value for capability in Capability}
    for word in plan.capabilities:
        if word not in known:
            names = ", ".join(Capability)
            raise ConfigurationError(
                f"backend {name!r} cannot have the capability {word!r}; the capabilities are {names}"
            )
    return frozenset(Capability(word) for word in plan.capabilities)


async def _finds_local_ollama(settings: Settings) -> bool:
    """Whether a server answers where Ollama listens by default; never asks ourselves."""
    if urlsplit(LOCAL_OLLAMA).port == settings.server.port:
        return False
    upstream = Upstream("ollama", open_endpoint(LOCAL_OLLAMA, api_key=None, ca_file=None), Timeouts(), Limits())
    try:
        await upstream.get("/api/version", timeout=_PROBE_SECONDS)
    except ProviderError:
        return False
    finally:
        await upstream.aclose()
    return True
