"""`passerelle migrate` and `passerelle admin create`."""

import asyncio
import sys

import typer
from pydantic import TypeAdapter, ValidationError

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.errors import GatewayError
from backend.core.logging import configure_logging
from backend.features.accounts.email import Email
from backend.features.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from backend.features.audit.service import AuditLog
from backend.features.auth.running import RunningCalls


def migrate() -> None:
    """Bring the database's tables up to date."""
    settings = _load()

    async def run() -> None:
        async with open_database(settings, migrating=True):
            typer.echo("the database's tables are up to date")

    asyncio.run(run())


def create_admin(email: str, password: str | None) -> None:
    """Make an administrator; the password is asked for, or read from standard input, when it is not given."""
    settings = _load()
    try:
        address = TypeAdapter(Email).validate_python(email)
    except ValidationError:
        raise typer.BadParameter(f"{email!r} is not an email address", param_hint="--email") from None
    secret = _ask() if password is None else password
    if not MIN_LENGTH <= len(secret) <= MAX_LENGTH:
        raise typer.BadParameter(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters", param_hint="--password")
    asyncio.run(_create(settings, address, secret))


async def _create(settings: Settings, email: str, password: str) -> None:
    async with open_database(settings) as database:
        accounts = await open_accounts(settings, database, AuditLog(database), signing_key(settings), RunningCalls())
        try:
            user = await accounts.own.create_admin(email, password)
        except GatewayError as error:
            typer.echo(f"passerelle: {error.message}", err=True)
            raise typer.Exit(1) from None
    typer.echo(f"{user.email} is an administrator; their trigramme is {user.trigramme}")


def _ask() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _load() -> Settings:
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    return settings
