"""`passerelle erase`."""

import asyncio
import uuid
from datetime import timedelta

import typer

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.errors import GatewayError
from backend.core.logging import configure_logging
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.history.upkeep import Upkeep

_ANY = timedelta(days=1)


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
        await accounts.users.remove(Caller(OPERATOR), user_id)
        await Upkeep(database, _ANY).compact()
