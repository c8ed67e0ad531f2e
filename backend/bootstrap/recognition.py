"""Builds what reads documents, with text recognition where settings and machine have one."""

import contextlib
import shutil
import subprocess
from dataclasses import dataclass

from backend.adapters.sandbox import Recognition, Sandbox
from backend.bootstrap.backends import open_upstream, plan_backends
from backend.core.config import BackendSettings, Settings
from backend.core.errors import ConfigurationError
from backend.features.knowledge.ports import DocumentReader, Ocr
from backend.features.knowledge.scan_reader import ScanReader
from backend.providers.ocr import MistralOcr

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What reads documents."""

    reader: DocumentReader
    reads_images: bool


def build_reading(settings: Settings, stack: contextlib.AsyncExitStack) -> Reading:
    """Return what reads documents, closed by the stack; raise `ConfigurationError` where it is not as configured."""
    tesseract = _tesseract(settings)
    ocr = _mistral(settings, stack) if settings.knowledge.ocr == "mistral" else None
    reader = ScanReader(Sandbox(recognition=tesseract), ocr, settings.knowledge.ocr_pages)
    return Reading(reader, reads_images=tesseract is not None or ocr is not None)


def check_recognition(settings: Settings) -> str:
    """Return in a few words what reads scans; raise `ConfigurationError` where that is not there."""
    if settings.knowledge.ocr == "mistral":
        _mistral_plan(settings)
        return f"scans are sent to Mistral ({settings.knowledge.ocr_model})"
    found = _tesseract(settings)
    if found is None:
        return "scans are not read"
    return f"scans are read by {found.binary} ({found.languages})"


def _tesseract(settings: Settings) -> Recognition | None:
    """Return the program with the languages it has of those wanted, which must be all where it was chosen by name."""
    wanted = settings.knowledge
    if wanted.ocr not in {"auto", "tesseract"}:
        return None
    binary = shutil.which("tesseract")
    installed = frozenset() if binary is None else _languages(binary)
    languages = wanted.ocr_languages.split("+")
    there = [language for language in languages if language in installed]
    if binary is not None and there and (wanted.ocr == "auto" or there == languages):
        return Recognition(binary, "+".join(there), wanted.ocr_pages)
    if wanted.ocr == "auto":
        return None
    missing = "there is no such program" if binary is None else f"it lacks some of {wanted.ocr_languages}"
    raise ConfigurationError(
        f"GATEWAY_KNOWLEDGE__OCR=tesseract, but {missing}: install tesseract-ocr and its languages, or set auto or off"
    )


def _languages(binary: str) -> frozenset[str]:
    """Return the languages a program says it has, without our environment; none where it does not work."""
    try:
        told = subprocess.run(  # noqa: S603 (what the operator installed)
            (binary, "--list-langs"), capture_output=True, timeout=_SECONDS, check=True, env={"LANG": "C.UTF-8"}
        )
    except (OSError, subprocess.SubprocessError):
        return frozenset()
    return frozenset(told.stdout.decode("utf-8", "replace").split("\n")[1:])


def _mistral(settings: Settings, stack: contextlib.AsyncExitStack) -> Ocr:
    name, plan = _mistral_plan(settings)
    upstream = open_upstream(name, plan, settings)
    stack.push_async_callback(upstream.aclose)
    return MistralOcr(upstream, settings.knowledge.ocr_model)


def _mistral_plan(settings: Settings) -> tuple[str, BackendSettings]:
    for name, plan in plan_backends(settings).items():
        if plan.kind == "mistral":
            return name, plan
    raise ConfigurationError("GATEWAY_KNOWLEDGE__OCR=mistral needs a backend of Mistral: set MISTRAL_API_KEY, or auto")
