"""`passerelle erase`."""

import asyncio
import uuid
from datetime import timedelta

import typer
from sqlalchemy import select

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.knowledge import open_knowledge
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.db.database import Database
from backend.core.errors import GatewayError, StoreUnavailable
from backend.core.logging import configure_logging
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.history.upkeep import Upkeep
from backend.features.knowledge.models import Document

_ANY = timedelta(days=1)
_SECONDS, _LOOK_SECONDS = 120.0, 0.1


def erase(email: str, *, confirmed: bool) -> None:
    """Remove an account and all that is kept of it, off the disk too."""
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    address = email.strip().lower()
    if not confirmed:
        typer.confirm(f"Remove {address} with all their keys, agents and chats, for ever?", abort=True)
    try:
        asyncio.run(_erase(settings, address))
    except GatewayError as error:
        typer.echo(f"passerelle: {error.message}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{address} and all that was theirs is gone")


async def _erase(settings: Settings, email: str) -> None:
    async with open_database(settings) as database:
        audit, running = AuditLog(database), RunningCalls()
        accounts = await open_accounts(settings, database, audit, signing_key(settings), running)
        async with open_keys(database, audit, accounts.sessions.known, running) as keys:
            user_id: uuid.UUID = await keys.own.owner_named(email)
        owned = await _documents_of(database, user_id)
        await accounts.users.remove(Caller(OPERATOR), user_id)
        if owned:
            await _remove_documents(settings, database, audit, owned)
        await Upkeep(database, _ANY).compact()


async def _documents_of(database: Database, owner_id: uuid.UUID) -> frozenset[uuid.UUID]:
    async with database.reading() as session:
        return frozenset(await session.scalars(select(Document.id).where(Document.owner_id == owner_id)))


async def _remove_documents(
    settings: Settings, database: Database, audit: AuditLog, owned: frozenset[uuid.UUID]
) -> None:
    """Remove documents whose owner is gone, as a gateway would; what its index holds of them it drops itself."""
    async with open_knowledge(settings, database, audit, only=owned) as knowledge:
        await knowledge.dispatcher.sweep()
        knowledge.dispatcher.start()
        try:
            async with asyncio.timeout(_SECONDS):
                while await _are_there(database, owned):  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(
                "the account is gone, but not yet all of its documents; the gateway removes them while it runs"
            ) from None


async def _are_there(database: Database, documents: frozenset[uuid.UUID]) -> bool:
    async with database.reading() as session:
        found = select(Document.id).where(Document.owner_id.is_(None), Document.id.in_(documents)).limit(1)
        return await session.scalar(found) is not None
