"""The queries every table needs, once; features add their own beside them.

A repository works inside a session of the caller: it never opens, commits or closes one.
"""

import uuid
from typing import Generic, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db.pages import Page, PageQuery
from backend.core.db.tables import Row

Kept = TypeVar("Kept", bound=Row)


class Repository(Generic[Kept]):
    """Finds, lists, adds and removes rows of one table.

    Args:
        table: the table's class.
    """

    def __init__(self, table: type[Kept]) -> None:
        self.table = table

    async def get(self, session: AsyncSession, row_id: uuid.UUID) -> Kept | None:
        """Return the row with this id, or None."""
        return await session.get(self.table, row_id)

    async def one(self, session: AsyncSession, statement: Select[Kept]) -> Kept | None:
        """Return the row a statement finds, or None; raise when it finds several."""
        return (await session.execute(statement)).unique().scalar_one_or_none()

    async def page(self, session: AsyncSession, statement: Select[Kept], query: PageQuery) -> Page[Kept]:
        """Return a piece of what a statement finds, in its own order."""
        total = await session.scalar(select(func.count()).select_from(statement.order_by(None).subquery()))
        found = await session.execute(statement.offset(query.skip).limit(query.limit))
        return Page(found.unique().scalars().all(), total or 0, query.skip, query.limit)

    async def add(self, session: AsyncSession, row: Kept) -> Kept:
        """Add a row and let the store check it now, so that a conflict is raised here."""
        session.add(row)
        await session.flush()
        return row

    async def remove(self, session: AsyncSession, row: Kept) -> None:
        """Remove a row."""
        await session.delete(row)
        await session.flush()
