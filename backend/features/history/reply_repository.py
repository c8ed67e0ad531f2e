"""The queries for kept replies."""

import uuid

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.features.history.models import KeptReply


class ReplyRepository:
    """Finds and changes the replies of one account at a time."""

    async def get(self, session: AsyncSession, user_id: uuid.UUID, key: str) -> KeptReply | None:
        """Return what is known of a key."""
        return await session.get(KeptReply, (user_id, key))

    async def remove(self, session: AsyncSession, user_id: uuid.UUID, key: str) -> None:
        """Forget a key."""
        ours = (KeptReply.user_id == user_id, KeptReply.idempotency_key == key)
        await session.execute(delete(KeptReply).where(*ours))

    async def finish(self, session: AsyncSession, user_id: uuid.UUID, key: str, reply: str, chat_id: uuid.UUID) -> None:
        """Keep the reply."""
        ours = (KeptReply.user_id == user_id, KeptReply.idempotency_key == key)
        await session.execute(update(KeptReply).where(*ours).values(reply=reply, chat_id=chat_id))
