"""`passerelle reindex`: makes the index of vectors anew from the database."""

import asyncio

import typer

from backend.bootstrap.container import open_container
from backend.bootstrap.vectors import check_index
from backend.core.config import Settings, load_settings
from backend.core.errors import GatewayError
from backend.core.logging import configure_logging
from backend.features.knowledge.indexing import EmbedderAway


def reindex() -> int:
    """Make missing vectors, build every index anew; return 0 when that is done, else 1."""
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    check_index(settings)
    return asyncio.run(_reindex(settings))


async def _reindex(settings: Settings) -> int:
    async with open_container(settings) as container:
        vectors = container.vectors
        try:
            await vectors.upkeep.once()
            used = vectors.embedders.wanted or vectors.embedders.searched
            status = await vectors.embedders.status(vectors.kind)
            if used is None:
                typer.echo(f"nothing to do, documents are found by keywords: {status.reason}")
                return 0
            rebuilt = await vectors.keeper.rebuild_all(used.fingerprint.value)
        except (EmbedderAway, GatewayError) as error:
            typer.echo(f"not finished: {error}")
            return 1
        typer.echo(f"{rebuilt} indices built with the vectors of {status.kind} {status.model}")
        return 0
