"""Model names as clients write them: `[host/][namespace/]model[:tag]`, in the grammar of Ollama.

Source: `types/model/name.go` of ollama/ollama at fb30760. Names are compared part by part without case; missing parts
mean `registry.ollama.ai`, `library` and `latest`. What is shown drops the default host and namespace, never the tag.
"""

import re
from dataclasses import dataclass, replace

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
OWN_NAMESPACE = "me"
"""In a name: the caller's own trigramme. Trigrammes have three letters, so it never is one."""

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", re.ASCII)
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", re.ASCII)
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_MAX_LENGTH = 600
_SOURCE_TAGS = frozenset({"cloud", "local"})


@dataclass(frozen=True, slots=True)
class ModelName:
    """A checked name; `host`, `namespace` and `tag` are always filled."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> str:
        """Return what two names share exactly when they mean the same model."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()

    @property
    def short(self) -> str:
        """Return the form shown everywhere, for example `llama3.2:latest` or `ns/model:7b`."""
        text = f"{self.model}:{self.tag}"
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{text}"
        return text if self.namespace.lower() == DEFAULT_NAMESPACE else f"{self.namespace}/{text}"

    @property
    def full(self) -> str:
        """Return the form with every part, as Ollama writes it in capability errors."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def names_a_source(self) -> bool:
        """Whether the tag makes stock clients start their cloud sign-in (`cloud`, `local`, `*-cloud`)."""
        tag = self.tag.lower()
        return tag in _SOURCE_TAGS or tag.endswith("-cloud")


def parse_name(text: str) -> ModelName | None:
    """Return the name that `text` writes, or None when it does not fit the grammar."""
    if not text or len(text) > _MAX_LENGTH:
        return None
    _, scheme, rest = text.rpartition("://")
    path, slash, last = rest.rpartition("/")
    model, colon, tag = last.partition(":")
    parts = path.split("/") if slash else []
    if (colon and not tag) or len(parts) > 2 or (scheme and not parts):  # noqa: PLR2004 (host and namespace)
        return None
    namespace = parts[-1] if parts else DEFAULT_NAMESPACE
    host = parts[0] if len(parts) == 2 else DEFAULT_HOST  # noqa: PLR2004
    name = ModelName(host, namespace, model, tag or DEFAULT_TAG)
    fits = (
        _HOST.fullmatch(name.host)
        and _NAMESPACE.fullmatch(name.namespace)
        and _PART.fullmatch(name.model)
        and _PART.fullmatch(name.tag)
    )
    return name if fits else None


def listable_name(model_id: str, *, is_native: bool = False) -> ModelName:
    """Return the name under which an upstream's model is listed; `is_native` for an Ollama machine, whose names are so.

    Ids that fit the grammar keep their spelling; others get `-` for what does not fit. Tags that would make stock
    clients start a cloud sign-in are moved into the model part.
    """
    name = parse_name(model_id)
    if name is None or (name.host != DEFAULT_HOST and not is_native):
        *spaces, last = model_id.split("/")
        model = _UNFIT.sub("-", last).strip("-.")[:80] or "model"
        namespace = _UNFIT.sub("-", spaces[-1]).replace(".", "-").strip("-")[:80] if spaces else ""
        name = ModelName(DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, DEFAULT_TAG)
    if name.names_a_source:
        name = ModelName(name.host, name.namespace, f"{name.model}-{name.tag}"[:80], DEFAULT_TAG)
    return name


def spelled_out(name: ModelName, trigramme: str) -> ModelName:
    """Return a name with the caller's trigramme in place of `me`; callers without an account have no `me`."""
    is_own = trigramme and name.namespace.lower() == OWN_NAMESPACE and name.host.lower() == DEFAULT_HOST
    return replace(name, namespace=trigramme) if is_own else name
