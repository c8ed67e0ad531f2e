"""The bodies of the routes for memories."""

import uuid
from datetime import datetime
from typing import Literal

from backend.web.side_api import Reply


class MemoryRead(Reply):
    """An exchange that an agent remembers; long texts are cut."""

    id: uuid.UUID
    agent_id: uuid.UUID
    chat_id: uuid.UUID
    question: str
    answer: str
    created_at: datetime


class MemoryExport(MemoryRead):
    """A memory in an export, which begins with chats."""

    kind: Literal["memory"] = "memory"
