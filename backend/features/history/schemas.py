"""The bodies of the routes for chats and messages."""

import uuid
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from backend.features.history.models import MAX_TITLE
from backend.web.side_api import Body, Reply

MAX_CONTENT = 512 * 1024


class ChatCreate(Body):
    """A new chat."""

    title: str = Field("", max_length=MAX_TITLE)


class ChatUpdate(Body):
    """What can be changed about a chat."""

    title: str = Field(min_length=1, max_length=MAX_TITLE)


class MessageSend(Body):
    """A question, in a chat that is there or in a new one."""

    model_config = ConfigDict(str_strip_whitespace=False)

    chat_id: uuid.UUID | None = Field(None, description="The chat it belongs to; a new one when it is left out.")
    content: str = Field(min_length=1, max_length=MAX_CONTENT)
    model: str | None = Field(None, min_length=1, max_length=600, description="Who answers; as before when left out.")
    agent_id: uuid.UUID | None = Field(None, description="An agent that answers, instead of a model's name.")
    stream: bool = Field(default=False, description="Whether the answer comes as server-sent events.")

    @model_validator(mode="after")
    def _check_together(self) -> "MessageSend":
        if self.model is not None and self.agent_id is not None:
            raise ValueError("name a model or an agent, not both")
        return self


class Switch(Body):
    """Whether conversations are kept."""

    enabled: bool


class SwitchRead(Reply):
    """Whether conversations are kept."""

    enabled: bool


class MessageRead(Reply):
    """A message of a chat."""

    id: uuid.UUID
    chat_id: uuid.UUID
    seq: int
    parent_id: uuid.UUID | None
    role: str
    content: str
    thinking: str
    tool_calls: list[Any]
    llm_model: str | None
    llm_provider: str | None
    status: str
    error: str | None
    sources: list[Any]
    prompt_tokens: int | None
    completion_tokens: int | None
    ms: int | None
    created_at: datetime
    finished_at: datetime | None


class SourcesRead(Reply):
    """What an answer was given of documents."""

    message_id: uuid.UUID = Field(validation_alias="id")
    chat_id: uuid.UUID
    sources: list[Any]


class ChatRead(Reply):
    """A chat, without its messages."""

    id: uuid.UUID
    title: str
    model: str
    agent_id: uuid.UUID | None
    external_id: str | None
    created_at: datetime
    updated_at: datetime


class ChatDetail(ChatRead):
    """A chat with its last messages; all of them come in pieces at `/messages/chat/{chat_id}`."""

    messages: list[MessageRead]


class ChatExport(ChatDetail):
    """A chat with all its messages."""


class Followed(Reply):
    """What the `data` of an event holds at least; its name says what happened."""

    chat_id: uuid.UUID
    message_id: uuid.UUID | None = None
    content: str | None = None


class Sent(Reply):
    """The answer to a question."""

    chat_id: uuid.UUID
    message: MessageRead
