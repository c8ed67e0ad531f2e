"""The bodies of the routes for agents."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from backend.core.errors import InvalidRequest
from backend.features.agents.drafts import (
    MAX_DESCRIPTION,
    MAX_MESSAGES,
    AgentDraft,
    check_messages,
    check_name,
    check_parameters,
    check_prompt,
    read_knowledge,
    write_knowledge,
)
from backend.features.agents.service import AgentView
from backend.llm.presets import Knowledge, KnowledgeMode
from backend.web.side_api import Body, Reply

_MAX_ROLES = 100
_MAX_COLLECTIONS = 50
MIN_ROOM, MAX_ROOM = 64, 200_000
"""Tokens of passages."""
_MAX_TEXT = 128 * 1024
Value = TypeVar("Value")


def _told(check: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """Let a check's sentence stand in a 422 instead of its own status."""

    def run(value: Value) -> Value:
        try:
            return check(value)
        except InvalidRequest as error:
            raise ValueError(error.message) from None

    return run


def _check_avatar(url: str) -> str:
    """Pages of clients load it; the gateway never does."""
    if not url.startswith("https://") or not url.isprintable() or any(c in url for c in " \"'<>\\"):
        raise ValueError("an avatar's address begins with https:// and holds no spaces or quotes")
    return url


class Opener(Body):
    """One turn that stands before every conversation."""

    model_config = ConfigDict(str_strip_whitespace=False)

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=_MAX_TEXT)


Prompt = Annotated[str, AfterValidator(_told(check_prompt)), Field(max_length=_MAX_TEXT)]


class KnowledgeWrite(Body):
    """How an agent uses its documents."""

    mode: KnowledgeMode = Field(
        "auto",
        description="auto answers without them when they cannot be searched, required does not answer then, off never "
        "searches them.",
    )
    footer: bool = Field(False, description="Name the sources at the end of the answer's text.")
    max_tokens: int | None = Field(
        None, ge=MIN_ROOM, le=MAX_ROOM, description="Tokens of passages at most; null leaves it to the model's window."
    )

    def settings(self) -> Knowledge:
        """Return it in canonical form."""
        return Knowledge(self.mode, self.footer, self.max_tokens)


class AgentWrite(Body):
    """An agent as its owner wants it; what is not said takes its default."""

    model_config = ConfigDict(str_strip_whitespace=False)

    name: Annotated[str, AfterValidator(_told(check_name))]
    model: str = Field(min_length=1, max_length=600, description="The base model.")
    description: str = Field("", max_length=MAX_DESCRIPTION)
    system_prompt: Prompt = ""
    temperature: float | None = None
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Other options under Ollama's names.", max_length=64
    )
    messages: list[Opener] = Field(default_factory=list, max_length=MAX_MESSAGES)
    is_public: bool = False
    role_ids: list[uuid.UUID] = Field(default_factory=list, max_length=_MAX_ROLES)
    avatar_url: Annotated[str, AfterValidator(_check_avatar), Field(max_length=500)] | None = None
    learn_from_interaction: bool = False
    collection_ids: list[uuid.UUID] = Field(
        default_factory=list, max_length=_MAX_COLLECTIONS, description="Collections it answers from."
    )
    rag: KnowledgeWrite = Field(default_factory=KnowledgeWrite)

    @model_validator(mode="after")
    def _check_together(self) -> "AgentWrite":
        if "temperature" in self.parameters:
            raise ValueError("temperature is a field of its own, not one of the parameters")
        _told(check_parameters)(self._options())
        _told(check_messages)(self._openers())
        return self

    def draft(self) -> AgentDraft:
        """Return what is asked for."""
        return AgentDraft(
            name=self.name,
            model=self.model,
            system_prompt=self.system_prompt,
            parameters=self._options(),
            messages=self._openers(),
            description=self.description,
            is_public=self.is_public,
            role_ids=frozenset(self.role_ids),
            avatar_url=self.avatar_url,
            learn_from_interaction=self.learn_from_interaction,
            collection_ids=frozenset(self.collection_ids),
            knowledge=self.rag.settings(),
        )

    def _options(self) -> dict[str, Any]:
        own = {} if self.temperature is None else {"temperature": self.temperature}
        return {**self.parameters, **own}

    def _openers(self) -> list[dict[str, str]]:
        return [opener.model_dump() for opener in self.messages]


class AgentRead(Reply):
    """An agent; prompt, shares and collections are null for those it is shared with."""

    id: uuid.UUID
    name: str
    model_name: str
    """What clients ask for."""
    owner_id: uuid.UUID
    description: str
    model: str
    system_prompt: str | None
    temperature: float | None
    parameters: dict[str, Any]
    messages: list[dict[str, str]]
    is_public: bool
    role_ids: list[uuid.UUID] | None
    avatar_url: str | None
    learn_from_interaction: bool
    collection_ids: list[uuid.UUID] | None
    rag: KnowledgeWrite
    capabilities: list[str]
    is_available: bool
    is_writable: bool
    created_at: datetime
    updated_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _from_view(cls, view: Any) -> Any:
        return _fields(view) if isinstance(view, AgentView) else view


def _fields(view: AgentView) -> dict[str, Any]:
    agent, names = view.agent, AgentRead.model_fields
    plain = {name: getattr(agent, name) for name in names if hasattr(agent, name)}
    parameters = dict(agent.parameters)
    return {
        **plain,
        "temperature": parameters.pop("temperature", None),
        "parameters": parameters,
        "model_name": view.model_name.short,
        "capabilities": list(view.capabilities),
        "is_available": view.is_available,
        "is_writable": view.is_writable,
        "system_prompt": agent.system_prompt if view.is_writable else None,
        "collection_ids": list(view.collection_ids) if view.is_writable else None,
        "rag": write_knowledge(read_knowledge(agent.knowledge or {})),
        "role_ids": [share.role_id for share in agent.shares] if view.is_writable else None,
    }
