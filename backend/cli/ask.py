"""`passerelle models` and `passerelle chat`: the gateway's own pipeline without a server."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import typer

from backend.bootstrap.container import Container, open_container
from backend.core.config import load_settings
from backend.core.errors import GatewayError
from backend.core.logging import configure_logging
from backend.features.auth.context import CallContext
from backend.features.auth.principal import OPERATOR
from backend.wire.jsontext import encode_json
from backend.wire.ollama.replies import list_capabilities

Action = Callable[[Container], Awaitable[None]]
_CONTEXT_UNKNOWN = "-"


def list_models() -> None:
    """Print one line per model: name, backend, context, capabilities."""
    asyncio.run(_run(_list_models))


def chat(model: str, prompt: str | None) -> None:
    """Print the answer of `model` to `prompt` as it comes."""
    text = sys.stdin.read() if prompt is None else prompt
    asyncio.run(_run(lambda container: _chat(container, model, text)))


async def _run(action: Action) -> None:
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    async with open_container(settings) as container:
        try:
            await action(container)
        except GatewayError as error:
            typer.echo(f"passerelle: {error.message}", err=True)
            raise typer.Exit(1) from None


async def _list_models(container: Container) -> None:
    rows = [("NAME", "BACKEND", "CONTEXT", "CAPABILITIES")]
    for model in await container.catalog.models(OPERATOR):
        context = str(model.info.context_length or _CONTEXT_UNKNOWN)
        backends = ", ".join(candidate.backend.name for candidate in model.candidates)
        rows.append((model.name.short, backends, context, ", ".join(list_capabilities(model.info))))
    if len(rows) > 1:
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    failed = [backend for backend in container.catalog.backends if backend.last_error]
    for backend in failed:
        typer.echo(f"passerelle: {backend.last_error}", err=True)
    if len(failed) == len(container.catalog.backends):
        raise typer.Exit(1)


async def _chat(container: Container, model: str, text: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    answer = await container.ollama_api.inference.chat(encode_json(body), CallContext(OPERATOR))
    if isinstance(answer, bytes):
        return
    try:
        async for lines in answer:
            _print_lines(lines)
    finally:
        await answer.aclose()
    typer.echo()


def _print_lines(lines: bytes) -> None:
    for line in filter(None, lines.split(b"\n")):
        message = json.loads(line).get("message", {})
        typer.echo(message.get("content", ""), nl=False)
