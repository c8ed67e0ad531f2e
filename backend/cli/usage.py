"""`passerelle usage`: what was used, as a table."""

import asyncio
from datetime import timedelta

import typer

from backend.bootstrap.store import open_database
from backend.bootstrap.usage import usage_reports
from backend.core.config import Settings, load_settings
from backend.core.db.pages import PageQuery
from backend.core.db.tables import utc_now
from backend.core.errors import GatewayError, NotFound
from backend.core.logging import configure_logging
from backend.features.accounts.repository import Users
from backend.features.usage.prices import amount
from backend.features.usage.repository import GroupBy, Sums
from backend.features.usage.service import Period, Report

_MAX_ROWS = 1_000
_NOBODY = "-"


def show(email: str | None, days: int) -> None:
    """Print what each user used in the last days, or one user with each model."""
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    try:
        report = asyncio.run(_report(settings, email, days))
    except GatewayError as error:
        typer.echo(f"passerelle: {error.message}", err=True)
        raise typer.Exit(1) from None
    _print(report, "USER" if email is None else "MODEL")


async def _report(settings: Settings, email: str | None, days: int) -> Report:
    today = utc_now().date()
    period = Period(today - timedelta(days=days - 1), today)
    group_by: GroupBy = "user" if email is None else "model"
    async with open_database(settings) as database:
        user_id = None
        if email is not None:
            async with database.reading() as reading:
                user = await Users().by_email(reading, email.strip().lower())
            if user is None:
                raise NotFound(f"nobody has an account with the email {email!r}")
            user_id = user.id
        return await usage_reports(settings, database).report(period, group_by, PageQuery(0, _MAX_ROWS), user_id)


def _print(report: Report, head: str) -> None:
    rows = [(head, "REQUESTS", "READ", "WRITTEN", report.currency)]
    rows += [(group.label or _NOBODY, *_cells(group.sums)) for group in report.groups.items]
    rows.append(("all", *_cells(report.totals)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *cells in rows:
        numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        typer.echo("  ".join([name.ljust(widths[0]), *numbers]))
    if report.totals.unpriced:
        typer.echo(f"{report.totals.unpriced:,} requests have no price; see GATEWAY_USAGE__PRICES")


def _cells(sums: Sums) -> tuple[str, str, str, str]:
    return f"{sums.requests:,}", f"{sums.prompt_tokens:,}", f"{sums.completion_tokens:,}", amount(sums.cost)
