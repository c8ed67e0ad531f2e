"""Settings: names people know, three sources in order, and one line about what is wrong."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from backend.core.config import Settings, load_settings
from backend.core.errors import ConfigurationError

SECRET = "sk-AbCdEf0123456789"  # noqa: S105 (a canary)


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No inherited names, no files but the test's own."""
    for name in list(os.environ):
        if name.upper().startswith(("GATEWAY_", "MISTRAL_", "OLLAMA_", "VLLM_", "OPENAI_", "LOG_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(**overrides: Any) -> str:
    """Return the one line that says what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("MISTRAL_BASE_URL", "https://eu.test/v1/", "mistral_base_url", "https://eu.test"),
        ("OLLAMA_BASE_URLS", "http://a:1, http://b:2/ ,", "ollama_base_urls", ("http://a:1", "http://b:2")),
        ("VLLM_BASE_URLS", "http://a:8000/v1", "vllm_base_urls", ("http://a:8000",)),
        ("OPENAI_BASE_URL", "http://a/api/v1", "openai_base_url", "http://a/api"),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
        ("GATEWAY_LOG_FORMAT", "json", "log_format", "json"),
        ("GATEWAY_AUTH", "keys", "auth", "keys"),
        ("GATEWAY_DATA_DIR", "elsewhere", "data_dir", Path("elsewhere")),
        ("gateway_auth", "open", "auth", "open"),
    ],
)
def test_every_common_name_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(load_settings(), field) == expected


@pytest.mark.parametrize("name", ["MISTRAL_API_KEY", "VLLM_API_KEY", "OPENAI_API_KEY"])
def test_keys_are_read_and_never_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    settings = load_settings()
    assert getattr(settings, name.lower()).get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.model_dump())


def test_client_keys_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_API_KEYS", f" {SECRET} ,other,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == [SECRET, "other"]
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("GATEWAY_SERVER__PORT", "9000", ("server", "port"), 9000),
        ("GATEWAY_TIMEOUTS__IDLE_SECONDS", "1.5", ("timeouts", "idle_seconds"), 1.5),
        ("GATEWAY_OLLAMA__PULL_HOSTS", "a.test, b.test", ("ollama", "pull_hosts"), ("a.test", "b.test")),
        ("GATEWAY_MISTRAL__EXTENDED_SAMPLING", "false", ("mistral", "extended_sampling"), False),
        ("GATEWAY_TLS__CA_FILE", "ca.pem", ("tls", "ca_file"), Path("ca.pem")),
    ],
)
def test_groups_are_reached_by_two_underscores_and_keep_their_other_values(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, path: tuple[str, str], expected: object
) -> None:
    monkeypatch.setenv(name, value)
    settings = load_settings()
    assert getattr(getattr(settings, path[0]), path[1]) == expected
    assert settings.server.host == "127.0.0.1"


def test_backends_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_BACKENDS__LAB__KIND", "llamacpp")
    monkeypatch.setenv("GATEWAY_BACKENDS__LAB__BASE_URL", "http://lab:8080/v1")
    monkeypatch.setenv("GATEWAY_BACKENDS__LAB__API_KEY", SECRET)
    monkeypatch.setenv("GATEWAY_BACKENDS__LAB__CAPABILITIES", "completion, tools")
    [(name, backend)] = load_settings().backends.items()
    assert (name, backend.kind, backend.base_url) == ("lab", "llamacpp", "http://lab:8080")
    assert backend.capabilities == ("completion", "tools")
    assert SECRET not in repr(backend)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "")
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "")
    settings = load_settings()
    assert settings.mistral_api_key is None
    assert settings.server.port == 8000


def test_sources_count_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gateway.yaml").write_text("limits: {body_bytes: 1, line_bytes: 1, answer_bytes: 1, queued_requests: 1}\n")
    Path(".env").write_text("GATEWAY_LIMITS__BODY_BYTES=2\nGATEWAY_LIMITS__LINE_BYTES=2\nLOG_LEVEL=ERROR\n")
    monkeypatch.setenv("GATEWAY_LIMITS__BODY_BYTES", "3")
    settings = load_settings()
    assert (settings.limits.body_bytes, settings.limits.line_bytes, settings.limits.answer_bytes) == (3, 2, 1)
    assert settings.limits.concurrent_requests == 1000
    assert settings.log_level == "ERROR"
    assert load_settings(None).limits.line_bytes == 1


def test_the_file_of_settings_may_have_another_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "mistral_api_key: abc\nollama_base_urls: [http://a]\nbackends: {lab: {kind: vllm, base_url: http://b}}\n"
    )
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "other.yaml"))
    settings = load_settings()
    assert settings.ollama_base_urls == ("http://a",)
    assert settings.backends["lab"].kind == "vllm"
    assert settings.mistral_api_key is not None


def test_the_file_of_settings_may_be_named_in_dotenv() -> None:
    Path("other.yaml").write_text("log_level: ERROR\n")
    Path(".env").write_text("GATEWAY_CONFIG=other.yaml\n")
    assert load_settings().log_level == "ERROR"


def test_a_file_of_settings_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", "nowhere.yaml")
    assert "nowhere.yaml" in refused()


@pytest.mark.parametrize("name", ["GATEWAY_LIMITZ__BODY_BYTES", "GATEWAY_FOO", "gateway_foo", "GATEWAY_"])
def test_an_unknown_name_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert refused().startswith(f"{name} is not a setting")


def test_an_unknown_name_in_dotenv_is_refused() -> None:
    Path(".env").write_text("GATEWAY_FOO=1\n")
    assert "GATEWAY_FOO" in refused()


@pytest.mark.parametrize(
    "text",
    ["limits: {body_bytez: 5}\n", "limitz: {body_bytes: 5}\n", "log_levell: DEBUG\n"],
    ids=["in a group", "a group", "a name"],
)
def test_an_unknown_name_in_the_file_of_settings_is_refused(text: str) -> None:
    Path("gateway.yaml").write_text(text)
    refused()


@pytest.mark.parametrize("text", ["a: [b\n", "- a\n- b\n", "hello\n", "a: b: c\n", "5\n"])
def test_a_file_of_settings_that_cannot_be_read_is_told_in_one_line(text: str) -> None:
    Path("gateway.yaml").write_text(text)
    assert "gateway.yaml" in refused()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
def test_an_empty_file_of_settings_is_fine(text: str) -> None:
    Path("gateway.yaml").write_text(text)
    assert load_settings().log_level == "INFO"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_SERVER__PORT", "99999"),
        ("GATEWAY_SERVER__PORT", SECRET),
        ("GATEWAY_SERVER__WORKERS", "0"),
        ("GATEWAY_LIMITS__X", "1"),
        ("GATEWAY_AUTH", SECRET),
        ("LOG_LEVEL", SECRET),
        ("OLLAMA_BASE_URLS", f"http://user:{SECRET}@host"),
        ("OLLAMA_BASE_URLS", "host:11434"),
        ("MISTRAL_BASE_URL", f"https://host?key={SECRET}"),
        ("VLLM_BASE_URLS", "http://a#b"),
        ("GATEWAY_BACKENDS__LAB__KIND", SECRET),
        ("GATEWAY_TIMEOUTS__IDLE_SECONDS", "0"),
        ("GATEWAY_LIMITS", "5"),
        ("GATEWAY_LIMITS", SECRET),
        ("GATEWAY_BACKENDS", SECRET),
        ("OLLAMA_BASE_URLS", "http://"),
        ("OLLAMA_BASE_URLS", "http://a b"),
        ("OLLAMA_BASE_URLS", "http://a:99999"),
    ],
)
def test_a_value_that_cannot_be_is_explained_by_its_name_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refused()
    assert text.startswith(name)
    assert SECRET not in text


def test_what_is_passed_in_counts_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    assert load_settings(log_level="ERROR").log_level == "ERROR"


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += models(field.annotation)
    return found


def test_settings_cannot_be_changed_afterwards() -> None:
    settings = load_settings()
    for model in (settings, settings.server, settings.limits):
        with pytest.raises(ValueError, match="frozen"):
            model.__setattr__(next(iter(type(model).model_fields)), "x")


def test_defaults_are_safe() -> None:
    settings = load_settings()
    assert (settings.server.host, settings.metrics.host, settings.auth) == ("127.0.0.1", "127.0.0.1", "auto")
    assert not settings.server.trusted_network
    assert len(models(Settings)) > 8


def test_a_key_from_a_file_may_end_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "Zx81Qp\n")
    key = load_settings().mistral_api_key
    assert key is not None
    assert key.get_secret_value() == "Zx81Qp"


def test_a_key_that_cannot_be_one_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "Zx81Qp\x07Zx")
    text = refused()
    assert text.startswith("MISTRAL_API_KEY")
    assert "Zx81Qp" not in text


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://chat.example",
        "http://localhost:3000/",
        "https://[::1]:8443",
        "chrome-extension://*",
        "app://obsidian.md",
    ],
)
def test_an_origin_is_what_a_browser_sends_or_all_of_a_scheme(origin: str) -> None:
    assert load_settings(None, cors_origins=f"{origin},https://b.example").cors_origins == (origin, "https://b.example")


@pytest.mark.parametrize(
    "origin", ["null", "chat.example", "https://*", "http://*.example", "https://a/b", "a b", "https://"]
)
def test_an_origin_that_would_never_match_or_match_too_much_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"CORS_ORIGINS.*must be \*, an origin such as"):
        load_settings(None, cors_origins=origin)
