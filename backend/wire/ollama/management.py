"""The request bodies that change models on a machine (`ollama-wire.md` 7), and the one that is sent on.

What is sent is written anew from checked fields: names, digests and paths in one spelling, nothing that is not named
here. `remote_host`, `insecure` and credentials of registries are never read into it.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from backend.core.errors import InvalidRequest
from backend.llm.digests import parse_digest
from backend.wire.ollama.schemas import MessageBody, NamedModel, OllamaModel

_MAX_FILES = 1_000
_MAX_PATH = 1_024
_MAX_PARAMETERS = 256
_DRIVE = re.compile(r"[A-Za-z]:", re.ASCII)
_INFO_KEYS = frozenset(
    {
        "capabilities",
        "model_family",
        "base_name",
        "quantization_level",
        "parameter_size",
        "context_length",
        "embedding_length",
    }
)


def _read_files(value: Any) -> dict[str, str]:
    """Return relative paths with their digests; a machine joins both to folders of its own."""
    if not isinstance(value, dict) or len(value) > _MAX_FILES:
        raise InvalidRequest(f"files must be an object of at most {_MAX_FILES} paths with their digests")
    if not all(_is_relative(path) for path in value):
        raise InvalidRequest("file path must be relative")
    digests = {path: parse_digest(text) if isinstance(text, str) else None for path, text in value.items()}
    if None in digests.values():
        raise InvalidRequest("invalid digest format")
    return {path: str(digest) for path, digest in digests.items()}


def _is_relative(path: str) -> bool:
    is_plain = path.isprintable() and "\\" not in path and len(path) <= _MAX_PATH and not _DRIVE.match(path)
    return is_plain and all(part not in {"", ".", ".."} for part in path.split("/"))


def _read_license(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidRequest("license must be a text or a list of texts")
    return texts


def _read_parameters(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _MAX_PARAMETERS:
        raise InvalidRequest(f"parameters must be an object of at most {_MAX_PARAMETERS} values")
    return _plain_values({name: item for name, item in value.items() if item is not None}, "parameter")


def _read_info(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest("info must be an object")
    return _plain_values({key: item for key, item in value.items() if key in _INFO_KEYS}, "info field")


def _plain_values(values: dict[str, Any], what: str) -> dict[str, Any]:
    for name, value in values.items():
        is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not is_texts and not isinstance(value, bool | int | float | str):
            raise InvalidRequest(f"{what} {name[:80]!r} must be a number, a text, true or false, or a list of texts")
    return values


Files = Annotated[dict[str, str], BeforeValidator(_read_files)]


class CreateBody(NamedModel):
    """`POST /api/create`."""

    files: Files = Field(default_factory=dict)
    draft_files: Files = Field(default_factory=dict)
    adapters: Files = Field(default_factory=dict)
    base: str = Field("", alias="from")
    remote_host: str = ""
    template: str = ""
    license: Annotated[list[str], BeforeValidator(_read_license)] = Field(default_factory=list)
    system: str = ""
    parameters: Annotated[dict[str, Any], BeforeValidator(_read_parameters)] = Field(default_factory=dict)
    messages: list[MessageBody] = Field(default_factory=list)
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    info: Annotated[dict[str, Any], BeforeValidator(_read_info)] = Field(default_factory=dict)
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    modelfile: Any = None
    """What clients sent before 2025 in place of all the others; read by nobody since."""
    stream: bool = True

    @property
    def uploads(self) -> bool:
        """Whether the model needs files that were uploaded before."""
        return bool(self.files or self.draft_files or self.adapters)


_FORWARDED = frozenset(CreateBody.model_fields) - {
    "model",
    "name",
    "base",
    "remote_host",
    "quantize",
    "quantization",
    "modelfile",
    "stream",
}


class CopyBody(OllamaModel):
    """`POST /api/copy`."""

    source: str = ""
    destination: str = ""


class DeleteBody(NamedModel):
    """`DELETE /api/delete`."""


class PushBody(NamedModel):
    """`POST /api/push`; `insecure`, `username` and `password` are never read."""

    stream: bool = True


def check_create(body: CreateBody) -> None:
    """Refuse what a machine would refuse before it looks at the name, and what must not be asked of it."""
    if body.draft_quantize and not body.draft_files:
        raise InvalidRequest("--draft-quantize requires a DRAFT model")
    if body.remote_host:
        raise InvalidRequest("remote_host is not supported here; create from a model of the machine")


def told_of_modelfile(body: CreateBody) -> str:
    """Return what to add to a refusal for want of a base when the whole Modelfile was sent instead."""
    return "; send from, system, parameters and messages instead of modelfile" if body.modelfile else ""


def write_create(body: CreateBody, name: str, base: str | None) -> dict[str, Any]:
    """Return the body of `/api/create` for a machine: the checked fields under checked names."""
    written: dict[str, Any] = {"model": name}
    if base is not None:
        written["from"] = base
    if quantize := body.quantize or body.quantization:
        written["quantize"] = quantize
    return written | body.model_dump(include=set(_FORWARDED), exclude_defaults=True)
