"""All settings: environment first, then `.env`, then an optional `gateway.yaml`.

Names people know keep them (`MISTRAL_API_KEY`, `OLLAMA_BASE_URLS`, ...); everything of our own is
`GATEWAY_<GROUP>__<NAME>`. Unknown `GATEWAY_*` names refuse to start, because a misspelt limit is no limit. Settings are
read once and passed down by group; nothing imports them as a global. `docs/configuration.md` and `.env.example` are
generated from here by `make docs`.
"""

import difflib
import os
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from backend.core.config_accounts import AccountSettings, OidcSettings
from backend.core.config_file import read_config_file, read_env_file
from backend.core.config_history import HistorySettings
from backend.core.config_knowledge import KnowledgeSettings
from backend.core.config_memory import MemorySettings
from backend.core.config_retrieval import RetrievalSettings
from backend.core.config_s3 import S3Settings
from backend.core.config_types import BaseUrl, BaseUrls, Group, Lines, Origins, RedisUrl, Secret, Secrets, Words
from backend.core.config_usage import UsageSettings
from backend.core.errors import ConfigurationError

CONFIG_FILE_VARIABLE = "GATEWAY_CONFIG"
_PREFIX = "GATEWAY_"
_DEFAULT_CONFIG_FILE = "gateway.yaml"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


BackendKind = Literal["mistral", "ollama", "vllm", "llamacpp", "lmstudio", "openai", "generic"]


class ServerSettings(Group):
    """Where the gateway listens."""

    host: str = Field("127.0.0.1", description="Address to bind. Any other than loopback needs API keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind.")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve.")
    trusted_network: bool = Field(
        False,
        description="State that only trusted hosts reach this bind (a container whose port is published on loopback), "
        "so that GATEWAY_AUTH=open is allowed on it.",
    )
    allowed_hosts: Words = Field(
        (),
        description="Host names clients may use for this gateway while it asks for no key, besides local ones.",
    )
    public_url: BaseUrl | None = Field(
        None,
        description="Address that callers reach this gateway at, as https://host. The `ollama` command then opens "
        "the page /connect below it for callers whose public key is not registered.",
    )
    shutdown_seconds: float = Field(30, ge=0, description="Time running answers get to finish when stopping.")


class TimeoutSettings(Group):
    """How long upstreams and clients may take, in seconds."""

    connect_seconds: float = Field(5, gt=0, description="To connect to a backend, TLS included.")
    first_byte_seconds: float = Field(60, gt=0, description="From sending a request to the first event of its answer.")
    idle_seconds: float = Field(60, gt=0, description="Between two pieces of an answer, or of an uploaded file.")
    total_seconds: float = Field(600, gt=0, description="For a whole answer.")
    list_seconds: float = Field(5, gt=0, description="To list a backend's models.")
    write_stall_seconds: float = Field(30, gt=0, description="That a client may stop reading before it is cut off.")
    body_seconds: float = Field(120, gt=0, description="That a client may take to send a request body.")
    signature_seconds: float = Field(
        300, gt=0, description="That the time of a signed request may be away from ours, either way."
    )


class LimitSettings(Group):
    """How much one process takes on."""

    body_bytes: int = Field(20 * 2**20, gt=0, description="Size of a request body.")
    audio_bytes: int = Field(25 * 2**20, gt=0, description="Size of an audio file to transcribe.")
    line_bytes: int = Field(2**20, gt=0, description="Size of one event from a backend.")
    answer_bytes: int = Field(64 * 2**20, gt=0, description="Bytes a backend may send for one answer.")
    concurrent_requests: int = Field(1000, gt=0, description="Answers generated at the same time, per process.")
    queued_requests: int = Field(512, ge=0, description="Requests that may wait for their turn; more get a 503.")
    queue_seconds: float = Field(30, gt=0, description="How long a request waits for its turn, in seconds.")


class BreakerSettings(Group):
    """When a failing backend is left alone for a while."""

    failures: int = Field(5, gt=0, description="Failures in a row that open the circuit.")
    open_seconds: float = Field(30, gt=0, description="Seconds before one request may try again.")


class CatalogSettings(Group):
    """How model lists are kept."""

    ttl_seconds: float = Field(30, ge=0, description="Seconds a model list counts as fresh.")


class MetricsSettings(Group):
    """Prometheus metrics, on a listener of their own so that they are never public by accident."""

    host: str = Field("127.0.0.1", description="Address of the metrics listener.")
    port: int = Field(9464, ge=0, le=65535, description="Port of the metrics listener; 0 turns it off.")


class MistralSettings(Group):
    """Habits of Mistral's platform that may change; see `docs/decisions`."""

    extended_sampling: bool = Field(
        True, description="Send top_k, repetition_penalty and logprobs where a model takes them."
    )
    bridge_after_tool: bool = Field(
        True, description="Put a short assistant turn between a tool result and a user turn."
    )


class OllamaSettings(Group):
    """What is forwarded to Ollama machines."""

    pull: bool = Field(True, description="Forward `pull` to the Ollama backend.")
    pull_hosts: Words = Field(
        ("registry.ollama.ai", "ollama.com", "hf.co", "huggingface.co"),
        description="Registries that the name of a pulled, pushed or new model may point to, comma separated.",
    )
    manage: bool = Field(
        False,
        description="Forward create, copy, delete and file uploads to Ollama backends, for callers who may manage "
        "models. Off by default: whoever may do that can fill the machine's disk, remove everybody's models and have "
        "it read model files from strangers.",
    )
    push: bool = Field(
        False,
        description="Forward `push` for the same callers. Off by default: it sends models out to a registry, under the "
        "machine's own account.",
    )
    blob_bytes: int = Field(32 * 2**30, gt=0, description="Size of one uploaded model file.")


class TlsSettings(Group):
    """Trust in upstreams; verification cannot be switched off."""

    ca_file: Path | None = Field(None, description="PEM file with further certificate authorities to trust.")


class BackendSettings(Group):
    """One upstream, for setups that the well-known names do not cover."""

    kind: BackendKind = Field(description="What the server speaks.")
    base_url: BaseUrl = Field(description="Its address, without /v1.")
    api_key: Secret | None = Field(None, description="Its key.")
    capabilities: Words | None = Field(None, description="What its models can do, when their names do not tell.")
    context_length: int | None = Field(None, gt=0, description="Tokens of context, when the server does not tell.")


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    mistral_api_key: Secret | None = Field(
        None,
        validation_alias="MISTRAL_API_KEY",
        description="Key of Mistral's API; setting it adds the backend.",
    )
    mistral_base_url: BaseUrl = Field(
        "https://api.mistral.ai", validation_alias="MISTRAL_BASE_URL", description="Address of Mistral's API."
    )
    ollama_base_urls: BaseUrls = Field(
        (),
        validation_alias=AliasChoices("OLLAMA_BASE_URLS", "OLLAMA_BASE_URL"),
        description="Addresses of Ollama machines, comma separated.",
    )
    vllm_base_urls: BaseUrls = Field(
        (),
        validation_alias=AliasChoices("VLLM_BASE_URLS", "VLLM_BASE_URL"),
        description="Addresses of vLLM servers, comma separated.",
    )
    vllm_api_key: Secret | None = Field(None, validation_alias="VLLM_API_KEY", description="Key of the vLLM servers.")
    openai_base_url: BaseUrl | None = Field(
        None,
        validation_alias="OPENAI_BASE_URL",
        description="Address of another OpenAI-compatible server (api.openai.com when only the key is set).",
    )
    openai_api_key: Secret | None = Field(None, validation_alias="OPENAI_API_KEY", description="Key of that server.")
    cors_origins: Origins = Field(
        (),
        validation_alias="CORS_ORIGINS",
        description="Web pages that may call, besides local ones, as https://host or chrome-extension://*, "
        "comma separated; * for all.",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", validation_alias="LOG_LEVEL", description="How much is logged."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="Lines for people (text) or machines (json); auto means text on a terminal."
    )
    database_url: Secret | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="Where users and all that is theirs are kept: postgresql://user:password@host/name, or unset for "
        "a file in the data folder.",
    )
    chroma_url: BaseUrl | None = Field(
        None,
        validation_alias="CHROMA_URL",
        description="Address of a Chroma server that keeps the index of vectors. It asks nobody for a key: only the "
        "gateway may reach it.",
    )
    s3_endpoint_url: BaseUrl | None = Field(
        None,
        validation_alias="S3_ENDPOINT_URL",
        description="Address of an S3 server that keeps the files of documents, in the bucket GATEWAY_S3__BUCKET; "
        "unset for the data folder.",
    )
    jwt_secret_key: Secret | None = Field(
        None,
        validation_alias="JWT_SECRET_KEY",
        description="Signs access tokens, 32 characters or more; made once in the data folder when unset, but needed "
        "with PostgreSQL.",
    )
    redis_url: RedisUrl | None = Field(
        None,
        validation_alias="REDIS_URL",
        description="What several processes share: counted requests and attempts, signatures that were used, live "
        "events. redis://user:password@host:6379/0, or rediss:// for TLS; unset when one process serves alone.",
    )
    data_dir: Path = Field(Path("data"), description="Folder of everything the gateway keeps.")
    auth: Literal["auto", "keys", "open"] = Field(
        "auto",
        description="Who may call: auto asks for keys where any are set, and on every bind other than loopback; keys "
        "always asks; open never does.",
    )
    api_keys: Secrets = Field((), description="Keys that clients may use, comma separated; 20 characters or more each.")
    public_keys: Lines = Field(
        (),
        description="Callers who sign their requests (`OLLAMA_AUTH=1`): their lines of `~/.ollama/id_ed25519.pub`, as "
        "`ssh-ed25519 AAAA... name`, comma separated.",
    )
    admin_keys: Secrets = Field(
        (),
        description="Keys like those, whose holders may manage models too, once GATEWAY_OLLAMA__MANAGE or "
        "GATEWAY_OLLAMA__PUSH is on.",
    )
    server: ServerSettings = ServerSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()
    breaker: BreakerSettings = BreakerSettings()
    catalog: CatalogSettings = CatalogSettings()
    metrics: MetricsSettings = MetricsSettings()
    mistral: MistralSettings = MistralSettings()
    ollama: OllamaSettings = OllamaSettings()
    tls: TlsSettings = TlsSettings()
    accounts: AccountSettings = AccountSettings()
    oidc: OidcSettings = OidcSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    s3: S3Settings = S3Settings()
    usage: UsageSettings = UsageSettings()
    history: HistorySettings = HistorySettings()
    memory: MemorySettings = MemorySettings()
    backends: dict[str, BackendSettings] = Field(
        default_factory=dict,
        description="Further backends by name, for example GATEWAY_BACKENDS__LAB__KIND=llamacpp and "
        "GATEWAY_BACKENDS__LAB__BASE_URL=http://lab:8080.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (unused source)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: what was passed in, environment, `.env`, `gateway.yaml`."""
        from_file = InitSettingsSource(settings_cls, init_kwargs=_file_values.get() or {})
        return init_settings, env_settings, dotenv_settings, from_file


_file_values: ContextVar[dict[str, Any] | None] = ContextVar("values of gateway.yaml being read", default=None)


def load_settings(env_file: str | None = ".env", **overrides: Any) -> Settings:
    """Read and check all settings; raise `ConfigurationError` with one line that says what is wrong."""
    environment = ({} if env_file is None else read_env_file(Path(env_file))) | os.environ
    _refuse_unknown_names(environment)
    token = _file_values.set(_read_file(environment.get(CONFIG_FILE_VARIABLE)))
    try:
        return Settings(_env_file=env_file, **overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except SettingsError as error:
        raise ConfigurationError(_explain_source(error)) from None
    finally:
        _file_values.reset(token)


def _read_file(named: str | None) -> dict[str, Any]:
    path = Path(named or _DEFAULT_CONFIG_FILE)
    if path.exists():
        return read_config_file(path, Settings.model_fields)
    if named:
        raise ConfigurationError(f"{CONFIG_FILE_VARIABLE} names a file that does not exist: {named}")
    return {}


def _refuse_unknown_names(names: Mapping[str, str | None]) -> None:
    known = {_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_FILE_VARIABLE}
    for name in sorted(names):
        if name.upper().startswith(_PREFIX) and name.upper().split("__")[0] not in known:
            raise ConfigurationError(f"{name} is not a setting{_suggest(name.upper(), all_names())}")


def all_names() -> list[str]:
    """Return the environment name of every setting."""
    names = [CONFIG_FILE_VARIABLE]
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            names += [f"{_PREFIX}{name.upper()}__{inner.upper()}" for inner in group.model_fields]
        else:
            names.append(public_name(name, field))
    return names


def public_name(name: str, field: FieldInfo) -> str:
    """Return the environment name of a setting outside the groups."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"{_PREFIX}{name.upper()}"


def _suggest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else "; see docs/configuration.md for the names"


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    path = [str(part) for part in first["loc"]]
    name = path[0] if path and path[0].isupper() else _PREFIX + "__".join(part.upper() for part in path)
    if first["type"] == "extra_forbidden":
        return f"{name}: is not a setting{_suggest(name, all_names())}"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}"


def _explain_source(error: SettingsError) -> str:
    """Name the group that was given one plain value; the library's text would repeat the value."""
    quoted = str(error).split('"')
    field = quoted[1] if len(quoted) > 1 else ""
    return f"{_PREFIX}{field.upper()}: is a group of settings; set {_PREFIX}{field.upper()}__<NAME> instead"
