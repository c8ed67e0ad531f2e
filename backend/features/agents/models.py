"""The tables of agents and of whom they are shared with."""

import uuid
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.core.db.tables import Dated, Row, Table


class Agent(Dated, Row):
    """A model of ours: base model, system prompt, parameters, openers; shown as `<trigramme>/<name>`."""

    __tablename__ = "agents"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    name: Mapped[str] = mapped_column(String(80))
    """In lower case, fit to be the model part of a name."""
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    description: Mapped[str] = mapped_column(String(500), default="")
    model: Mapped[str] = mapped_column(String(600))
    """The name of the base model, as a client would write it."""
    system_prompt: Mapped[str] = mapped_column(Text, default="")
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Options under Ollama's names, `temperature` among them, checked."""
    messages: Mapped[list[Any]] = mapped_column(default=list)
    """Openers: `{"role", "content"}` each, put before every conversation."""
    is_public: Mapped[bool] = mapped_column(default=False, index=True)
    avatar_url: Mapped[str | None] = mapped_column(String(500), default=None)
    learn_from_interaction: Mapped[bool] = mapped_column(default=False)
    knowledge: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """How it uses its documents: `mode`, `footer`, `max_tokens`; what is not there has its default."""
    shares: Mapped[list["AgentShare"]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="AgentShare.role_id"
    )


class AgentShare(Table):
    """A role whose members may use an agent."""

    __tablename__ = "agent_shares"

    agent_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
