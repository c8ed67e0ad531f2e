"""Asks a question in a chat that is kept here: the chat is told again to the model, the answer is kept in it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from backend.core.errors import GatewayError, InvalidRequest, NotFound, NotPermitted, Unprocessable
from backend.core.ids import new_id
from backend.features.agents.service import AgentService
from backend.features.auth.context import CallContext
from backend.features.auth.principal import Principal
from backend.features.generation.intake import Intake
from backend.features.history.encoders import EventEncoder, NothingEncoder
from backend.features.history.models import COMPLETE, Chat, StoredMessage
from backend.features.history.recorder import SentContext
from backend.features.history.replies import Replies, Reply
from backend.features.history.schemas import MessageRead, MessageSend, Sent
from backend.features.history.service import HistoryService
from backend.features.history.switches import Switches
from backend.features.history.turns import message_of
from backend.llm.ports import Answer
from backend.llm.types import ChatRequest, Message, Role, TextPart

_OFF = "conversations are not kept here, so there is nothing to send a message to; ask with a model's API instead"


@dataclass(frozen=True, slots=True)
class _Question:
    chat: Chat
    request: ChatRequest
    context: SentContext


class Sending:
    """Sends messages.

    Args:
        is_kept: whether anything is kept at all.
    """

    def __init__(
        self,
        service: HistoryService,
        replies: Replies,
        switches: Switches,
        intake: Intake,
        agents: AgentService,
        *,
        is_kept: bool,
    ) -> None:
        self._service = service
        self._replies = replies
        self._switches = switches
        self._intake = intake
        self._agents = agents
        self._is_kept = is_kept

    async def send(self, body: MessageSend, raw: bytes, context: CallContext, key: str | None) -> Answer | bytes:
        """Return the answer: streamed, or the whole reply; with `key` the same reply however often it is asked for."""
        user_id = context.principal.user_id
        if not self._is_kept or user_id is None:
            raise NotPermitted(_OFF)
        if body.stream:
            if key is not None:
                raise InvalidRequest('an Idempotency-Key needs "stream": false')
            question = await self._ask(body, context)
            encoder = EventEncoder(question.chat.id, question.context.answer_id)
            return await self._intake.answer(question.request, question.context, encoder)
        act = partial(self._answer, body, context)
        return (await act()).body if key is None else await self._replies.once(user_id, key, raw, act)

    async def _answer(self, body: MessageSend, context: CallContext) -> Reply:
        question = await self._ask(body, context)
        answer = await self._intake.answer(question.request, question.context, NothingEncoder())
        try:
            async for _ in answer:
                pass
        finally:
            await answer.aclose()
        kept = await self._service.message(question.chat.id, question.context.answer_id)
        if kept is None:
            raise NotFound("there is no such chat any more: it was removed while it was answered")
        if kept.status != COMPLETE:
            raise GatewayError("the answer could not be kept; look into the chat, or ask again")
        sent = Sent(chat_id=question.chat.id, message=MessageRead.model_validate(kept))
        return Reply(sent.model_dump_json().encode(), question.chat.id)

    async def _ask(self, body: MessageSend, context: CallContext) -> _Question:
        principal = context.principal
        chat, past = None, list[Message]()
        if body.chat_id is not None:
            chat, kept = await self._service.read(principal, body.chat_id, _MOST_MESSAGES)
            past = replay(chat, kept)
        name = await self._name(body, chat, principal)
        model = await self._intake.find(name, principal)
        if self._switches.is_off(principal, model.preset):
            raise NotPermitted(_OFF)
        if chat is None:
            agent_id = None if model.preset is None else uuid.UUID(model.preset.preset_id)
            chat = await self._service.create(principal, " ".join(body.content.split())[:_TITLE], name, agent_id)
        messages = (*past, Message("user", (TextPart(body.content),)))
        request = ChatRequest(name, messages, stream=body.stream)
        sent = SentContext(principal, "", chat.id, context.request_id, knowledge=context.knowledge, answer_id=new_id())
        return _Question(chat, request, sent)

    async def _name(self, body: MessageSend, chat: Chat | None, principal: Principal) -> str:
        if body.agent_id is not None:
            return (await self._agents.get(principal, body.agent_id)).model_name.short
        name = body.model or (chat.model if chat is not None else "")
        if not name:
            raise Unprocessable("say which model or agent shall answer")
        return name


_MOST_MESSAGES = 2_000
_TITLE = 80


def replay(chat: Chat, kept: Sequence[StoredMessage]) -> list[Message]:
    """Return the branch of a chat that ends with its last answer, as a request has it."""
    by_id = {message.id: message for message in kept}
    at = chat.last_answer_id if chat.last_answer_id in by_id else chat.last_turn_id
    branch: list[Message] = []
    while at is not None and (message := by_id.pop(at, None)) is not None:
        at = message.parent_id
        if message.role != "assistant" or message.content or message.tool_calls:
            branch.append(message_of(_role(message.role), message.content, message.thinking, message.tool_calls))
    return branch[::-1]


def _role(kept: str) -> Role:
    return "assistant" if kept == "assistant" else "tool" if kept == "tool" else "user"
