"""`passerelle keys create`, `list`, `rotate` and `revoke`."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import typer
from pydantic import ValidationError

from backend.bootstrap.accounts import open_accounts
from backend.bootstrap.keys import open_keys
from backend.bootstrap.signing_key import signing_key
from backend.bootstrap.store import open_database
from backend.core.config import Settings, load_settings
from backend.core.db.pages import MAX_LIMIT, PageQuery
from backend.core.errors import GatewayError
from backend.core.logging import configure_logging
from backend.features.audit.service import AuditLog, Caller
from backend.features.auth.principal import OPERATOR
from backend.features.auth.running import RunningCalls
from backend.features.keys.deps import Keys
from backend.features.keys.models import ApiKey
from backend.features.keys.schemas import KeyCreate
from backend.features.keys.service import NewKey
from backend.web.complaints import complaints

_OPERATOR = Caller(OPERATOR)


def create(email: str, **wanted: Any) -> None:
    """Make a key for a user and print it, alone on the last line."""
    try:
        draft = KeyCreate.model_validate(wanted).draft()
    except ValidationError as error:
        first = complaints(error.errors())[0]
        option = first.field.partition("[")[0].replace("_", "-").replace("expires-in-days", "expires-days")
        raise typer.BadParameter(first.message, param_hint=f"--{option}") from None

    async def run(keys: Keys) -> None:
        _show_once(await keys.own.create(_OPERATOR, await keys.own.owner_named(email.strip().lower()), draft))

    _run(run)


def show(email: str) -> None:
    """Print a user's keys, one a line."""

    async def run(keys: Keys) -> None:
        owner_id = await keys.own.owner_named(email.strip().lower())
        skip, total = 0, 1
        while skip < total:
            page = await keys.own.page(PageQuery(skip, MAX_LIMIT), owner_id)
            skip, total = skip + MAX_LIMIT, page.total
            for row in page.items:
                typer.echo(f"{row.id}  {row.hint}  {_ends(row)}  {_used(row.last_used_at)}  {row.name}")

    _run(run)


def rotate(key_id: uuid.UUID, overlap_minutes: int) -> None:
    """Give a key a new secret and print it, alone on the last line; a running gateway notices within a minute."""

    async def run(keys: Keys) -> None:
        _show_once(await keys.own.rotate(_OPERATOR, key_id, None, timedelta(minutes=overlap_minutes)))

    _run(run)


def revoke(key_id: uuid.UUID) -> None:
    """Revoke a key; a running gateway notices within a minute."""

    async def run(keys: Keys) -> None:
        await keys.own.revoke(_OPERATOR, key_id)
        typer.echo("the key is revoked; running gateways refuse it within a minute")

    _run(run)


def _run(act: Callable[[Keys], Awaitable[None]]) -> None:
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    try:
        asyncio.run(_with_keys(settings, act))
    except GatewayError as error:
        typer.echo(f"passerelle: {error.message}", err=True)
        raise typer.Exit(1) from None


async def _with_keys(settings: Settings, act: Callable[[Keys], Awaitable[None]]) -> None:
    async with open_database(settings) as database:
        audit = AuditLog(database)
        running = RunningCalls()
        accounts = await open_accounts(settings, database, audit, signing_key(settings), running)
        async with open_keys(database, audit, accounts.sessions.known, running) as keys:
            await act(keys)


def _show_once(new: NewKey) -> None:
    typer.echo(f"{new.row.id} {new.row.name}, {_ends(new.row)}; this is the only time it is shown:", err=True)
    typer.echo(new.key)


def _ends(row: ApiKey) -> str:
    if row.revoked_at is not None:
        return f"revoked {row.revoked_at:%Y-%m-%d}"
    return "does not expire" if row.expires_at is None else f"expires {row.expires_at:%Y-%m-%d}"


def _used(moment: datetime | None) -> str:
    return "never used" if moment is None else f"used {moment:%Y-%m-%d %H:%M}"
