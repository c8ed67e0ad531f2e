"""`passerelle doctor`: for each backend what was reached, how fast, and what to do when it failed."""

import asyncio
import time
from collections.abc import Mapping

import typer

from backend.bootstrap.backends import plan_backends
from backend.bootstrap.blobs import check_blobs, s3_place
from backend.bootstrap.container import Container, open_container
from backend.bootstrap.recognition import check_recognition
from backend.core.config import BackendSettings, Settings, load_settings
from backend.core.errors import StoreUnavailable
from backend.core.logging import configure_logging
from backend.features.catalog.backends import Backend
from backend.llm.errors import (
    ProviderAuthFailed,
    ProviderError,
    ProviderProtocolError,
    ProviderTimeout,
    ProviderUnreachable,
)

_ADVICE: tuple[tuple[type[ProviderError], str], ...] = (
    (ProviderAuthFailed, "the server is there but refuses the key: set the right one and start again"),
    (
        ProviderUnreachable,
        "start the server, or correct its base URL (in a container, 127.0.0.1 is the container)",
    ),
    (ProviderProtocolError, "correct its base URL: the address before /v1 or /api"),
    (ProviderTimeout, "the server takes connections but does not answer: look at its own log"),
)


def examine() -> int:
    """Print what works and what does not; return 0 when every backend answered, else 1."""
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    return asyncio.run(_examine(settings))


async def _examine(settings: Settings) -> int:
    planned = plan_backends(settings)
    typer.echo("settings  fine")
    async with open_container(settings) as container:
        typer.echo(f"access    {_describe_access(container)}")
        typer.echo(f"knowledge {await _describe_knowledge(container)}")
        typer.echo(f"{'':<9} {check_recognition(settings)}")
        is_kept = await _check_files(settings)
        results = [await _check(backend, planned) for backend in container.catalog.backends]
    return 0 if is_kept and all(results) else 1


async def _check_files(settings: Settings) -> bool:
    place = s3_place(settings)
    if place is None:
        typer.echo("files     in the data folder")
        return True
    label = f"files     in the bucket {place.bucket} at {place.endpoint_url}"
    started = time.perf_counter()
    try:
        await check_blobs(settings, place)
    except StoreUnavailable as error:
        typer.echo(f"{label}: FAILED after {_ms(started)} ms: {error.message}")
        typer.echo(f"{'':<9} -> check S3_ENDPOINT_URL and GATEWAY_S3__*, and what the key may do")
        return False
    typer.echo(f"{label}: reached in {_ms(started)} ms")
    return True


def _describe_access(container: Container) -> str:
    server = container.settings.server
    who = "with a key" if container.authenticator.requires_key else "without a key"
    return f"http://{server.host}:{server.port}, {who}"


async def _describe_knowledge(container: Container) -> str:
    vectors = container.vectors
    await vectors.embedders.refresh(is_needed=False)
    status = await vectors.embedders.status(vectors.kind)
    if not status.model:
        return f"documents are found by keywords alone; {status.reason}"
    waiting = f", {status.waiting} passages wait for theirs" if status.waiting else ""
    return f"vectors by {status.kind} {status.model}{waiting}, index {status.index}; {status.reason}"


async def _check(backend: Backend, planned: Mapping[str, BackendSettings]) -> bool:
    address = planned[backend.name].base_url if backend.name in planned else ""
    label = f"{backend.name:<9} {backend.kind}{f' at {address}' if address else ''}"
    started = time.perf_counter()
    try:
        models = await backend.lister.list_models()
    except ProviderError as error:
        typer.echo(f"{label}: FAILED after {_ms(started)} ms: {error.message}")
        typer.echo(f"{'':<9} -> {_advice(error)}")
        return False
    if not models:
        typer.echo(f"{label}: reached in {_ms(started)} ms, but it offers no model")
        typer.echo(f"{'':<9} -> load or pull a model there")
        return False
    if backend.kind == "demo":
        typer.echo(f"{label}: nothing is configured, only the demo answers")
        typer.echo(
            f"{'':<9} -> set MISTRAL_API_KEY, OLLAMA_BASE_URLS, VLLM_BASE_URLS or OPENAI_BASE_URL (see .env.example)"
        )
        return True
    typer.echo(f"{label}: {len(models)} models in {_ms(started)} ms")
    return True


def _advice(error: ProviderError) -> str:
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    return "try again; if it stays, look at the server's own log"


def _ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
