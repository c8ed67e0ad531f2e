"""The bodies of the routes for agents."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from backend.core.errors import InvalidRequest
from backend.features.agents.drafts import (
    MAX_DESCRIPTION,
    MAX_MESSAGES,
    MAX_NAME,
    MAX_TEMPERATURE,
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


Prompt = Annotated[str, AfterValidator(_told(check_prompt)), Field(max_length=_MAX_TEXT, description="64 KiB at most.")]


Name = Annotated[
    str,
    AfterValidator(_told(check_name)),
    Field(json_schema_extra={"maxLength": MAX_NAME}, description="Without a trigramme."),
]
Model = Annotated[str, Field(min_length=1, max_length=600, description="The base model.")]
Description = Annotated[str, Field(max_length=MAX_DESCRIPTION)]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)]
Parameters = Annotated[dict[str, Any], Field(max_length=64, description="Options under Ollama's names.")]
Openers = Annotated[list[Opener], Field(max_length=MAX_MESSAGES)]
RoleIds = Annotated[list[uuid.UUID], Field(max_length=_MAX_ROLES)]
RoleNames = Annotated[
    list[Annotated[str, StringConstraints(max_length=60)]],
    Field(max_length=_MAX_ROLES, description="Names of roles, beside `role_ids`."),
]
Avatar = Annotated[str, AfterValidator(_check_avatar), Field(max_length=500)]
CollectionIds = Annotated[
    list[uuid.UUID], Field(max_length=_MAX_COLLECTIONS, description="Collections it answers from.")
]


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

    name: Name
    model: Model
    description: Description = ""
    system_prompt: Prompt = ""
    temperature: Temperature | None = None
    parameters: Parameters = Field(default_factory=dict)
    messages: Openers = Field(default_factory=list)
    is_public: bool = False
    role_ids: RoleIds = Field(default_factory=list)
    roles: RoleNames = Field(default_factory=list)
    avatar_url: Avatar | None = None
    learn_from_interaction: bool = False
    collection_ids: CollectionIds = Field(default_factory=list)
    rag: KnowledgeWrite = Field(default_factory=KnowledgeWrite)

    @model_validator(mode="after")
    def _check_together(self) -> "AgentWrite":
        _check_temperature_once(self.temperature, self.parameters)
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
            roles=frozenset(self.roles),
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


class AgentUpdate(Body):
    """What changes about an agent; what is not named stays.

    Null takes `temperature` and `avatar_url` away. `parameters` replaces all options but the temperature, which stays
    unless it is named there or beside; `role_ids` and `roles` together replace whom it is shared with;
    `collection_ids` and `rag` replace all of theirs.
    """

    model_config = ConfigDict(str_strip_whitespace=False)

    name: Name = ""
    model: Model = ""
    description: Description = ""
    system_prompt: Prompt = ""
    temperature: Temperature | None = None
    parameters: Parameters = Field(default_factory=dict)
    messages: Openers = Field(default_factory=list)
    is_public: bool = False
    role_ids: RoleIds = Field(default_factory=list)
    roles: RoleNames = Field(default_factory=list)
    avatar_url: Avatar | None = None
    learn_from_interaction: bool = False
    collection_ids: CollectionIds = Field(default_factory=list)
    rag: KnowledgeWrite = Field(default_factory=KnowledgeWrite)

    @model_validator(mode="after")
    def _check_together(self) -> "AgentUpdate":
        _check_temperature_once(self.temperature, self.parameters)
        _told(check_parameters)(self.parameters)
        _told(check_messages)([opener.model_dump() for opener in self.messages])
        return self

    def change(self, kept: AgentDraft) -> AgentDraft:
        """Return a draft with what is named in place of what was."""
        named = self.model_fields_set
        changes: dict[str, Any] = {name: getattr(self, name) for name in named & _PLAIN}
        if named & {"temperature", "parameters"}:
            changes["parameters"] = self._options(dict(kept.parameters or {}))
        if "messages" in named:
            changes["messages"] = [opener.model_dump() for opener in self.messages]
        if named & {"role_ids", "roles"}:
            changes |= {"role_ids": frozenset(self.role_ids), "roles": frozenset(self.roles)}
        if "collection_ids" in named:
            changes["collection_ids"] = frozenset(self.collection_ids)
        if "rag" in named:
            changes["knowledge"] = self.rag.settings()
        return replace(kept, **changes)

    def _options(self, kept: dict[str, Any]) -> dict[str, Any]:
        temperature = {name: value for name, value in kept.items() if name == "temperature"}
        options = {**temperature, **self.parameters} if "parameters" in self.model_fields_set else kept
        if "temperature" in self.model_fields_set:
            options["temperature"] = self.temperature
        return {name: value for name, value in options.items() if value is not None}


_PLAIN = frozenset(
    {"name", "model", "description", "system_prompt", "is_public", "avatar_url", "learn_from_interaction"}
)
"""Fields that a draft has as a body has them."""


def _check_temperature_once(temperature: float | None, parameters: dict[str, Any]) -> None:
    if temperature is not None and parameters.get("temperature", temperature) != temperature:
        raise ValueError("temperature is given twice: leave it out of the parameters")


class RoleNamed(Reply):
    """A role with which one may share."""

    id: uuid.UUID
    name: str


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
