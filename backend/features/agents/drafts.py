"""What an agent is asked to be, checked before it is kept; every way to make one goes through here."""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.agents.models import Agent
from backend.llm.presets import DEFAULT_KNOWLEDGE, Knowledge, KnowledgeMode, Preset
from backend.wire.ollama.options import check_options, is_option, write_sampling

MAX_NAME, MAX_PROMPT_BYTES, MAX_DESCRIPTION = 80, 64 * 1024, 500
MAX_TEMPERATURE = 2
MAX_MESSAGES, MAX_MESSAGES_BYTES = 50, 128 * 1024
OPENER_ROLES = ("system", "user", "assistant")

_NAME = re.compile(rf"[a-z0-9_][a-z0-9_.-]{{0,{MAX_NAME - 1}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AgentDraft:
    """An agent as its owner wants it."""

    name: str
    model: str
    """The base, as a client would name it."""
    system_prompt: str = ""
    parameters: Mapping[str, Any] | None = None
    """Options under Ollama's names."""
    messages: Sequence[Mapping[str, str]] = ()
    """Openers, `{"role", "content"}` each."""
    description: str = ""
    is_public: bool = False
    role_ids: frozenset[uuid.UUID] = frozenset()
    roles: frozenset[str] = frozenset()
    """Names of further roles it is shared with."""
    avatar_url: str | None = None
    learn_from_interaction: bool = False
    collection_ids: frozenset[uuid.UUID] = frozenset()
    """What it answers from; its owner must be allowed to read them."""
    knowledge: Knowledge = DEFAULT_KNOWLEDGE
    """How it uses its documents."""

    @classmethod
    def of(cls, agent: Agent, collection_ids: Iterable[uuid.UUID]) -> "AgentDraft":
        """Return what would make an agent, which answers from these collections, what it is."""
        return cls(
            name=agent.name,
            model=agent.model,
            system_prompt=agent.system_prompt,
            parameters=agent.parameters,
            messages=agent.messages,
            description=agent.description,
            is_public=agent.is_public,
            role_ids=frozenset(share.role_id for share in agent.shares),
            avatar_url=agent.avatar_url,
            learn_from_interaction=agent.learn_from_interaction,
            collection_ids=frozenset(collection_ids),
            knowledge=read_knowledge(agent.knowledge or {}),
        )

    def checked(self) -> "AgentDraft":
        """Return the draft in the form that is kept; raise `InvalidRequest` for what cannot be."""
        _check_texts(self.system_prompt, self.description, self.parameters or {}, self.messages)
        return replace(
            self,
            name=check_name(self.name),
            system_prompt=check_prompt(self.system_prompt),
            parameters=check_parameters(self.parameters or {}),
            messages=check_messages(self.messages),
        )

    def upon(self, preset: Preset) -> "AgentDraft":
        """Return the draft made from another agent's base, with what that agent puts before it.

        Prompt and openers of the draft replace the other's, parameters are merged, as Ollama does it. An agent whose
        prompt the caller may not read is refused: the copy would show it.
        """
        if preset.system_prompt and not preset.shows_prompt:
            raise NotPermitted(
                f"'{preset.name.short}' is somebody else's agent and keeps its prompt to itself; "
                f"make yours from its base '{preset.base.short}'"
            )
        openers = [{"role": turn.role, "content": turn.text} for turn in preset.messages]
        return replace(
            self,
            model=preset.base.short,
            description=self.description or preset.description,
            system_prompt=self.system_prompt or preset.system_prompt,
            parameters={**write_sampling(preset.sampling), **(self.parameters or {})},
            messages=self.messages or openers,
        )


def check_name(text: str) -> str:
    """Return an agent's name in lower case."""
    name = text.lower()
    if "/" in name:
        raise InvalidRequest("an agent's name stands alone here: leave the trigramme out")
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"an agent's name has at most {MAX_NAME} letters a to z, digits, dots, dashes and underscores, "
            "and begins with a letter, a digit or an underscore"
        )
    return name


def check_prompt(text: str) -> str:
    """Return a system prompt that is not too long."""
    if _bytes(text) > MAX_PROMPT_BYTES:
        raise InvalidRequest(f"a system prompt may have {MAX_PROMPT_BYTES} bytes at most; shorten it")
    return text


def check_parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with their types; an unknown one is refused here, for nobody would notice that it does nothing."""
    unknown = [name for name in given if not is_option(name)]
    if unknown:
        raise InvalidRequest(f"unknown parameter '{unknown[0][:80]}'; see Ollama's options for the names")
    checked: dict[str, Any] = {name: list(v) if isinstance(v, tuple) else v for name, v in check_options(given).items()}
    if not 0 <= checked.get("temperature", 0) <= MAX_TEMPERATURE:
        raise InvalidRequest(f"temperature is a number from 0 to {MAX_TEMPERATURE}")
    return checked


def check_messages(given: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return openers; they are texts, and few."""
    if len(given) > MAX_MESSAGES:
        raise InvalidRequest(f"an agent may have {MAX_MESSAGES} messages at most; leave some out")
    if sum(_bytes(turn["content"]) for turn in given) > MAX_MESSAGES_BYTES:
        raise InvalidRequest(f"an agent's messages may have {MAX_MESSAGES_BYTES} bytes at most; shorten them")
    if any(turn["role"] not in OPENER_ROLES for turn in given):
        raise InvalidRequest('message role must be one of "system", "user", or "assistant"')
    return [{"role": turn["role"], "content": turn["content"]} for turn in given]


def write_knowledge(knowledge: Knowledge) -> dict[str, Any]:
    """Return how an agent uses its documents as it is kept."""
    return {"mode": knowledge.mode, "footer": knowledge.footer, "max_tokens": knowledge.max_tokens}


def read_knowledge(kept: Mapping[str, Any]) -> Knowledge:
    """Return how an agent uses its documents; what cannot be read has its default."""
    room = kept.get("max_tokens")
    mode: KnowledgeMode = kept["mode"] if kept.get("mode") in get_args(KnowledgeMode) else "auto"
    return Knowledge(
        mode,
        footer=kept.get("footer") is True,
        max_tokens=room if isinstance(room, int) and room > 0 else None,
    )


def _check_texts(*given: object) -> None:
    """Refuse NUL and halves of characters: no store keeps them, and no reply could hold them."""
    rest = list(given)
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
                raise InvalidRequest("a text holds NUL or half of a character, which cannot be kept; leave it out")
        elif isinstance(value, Mapping):
            rest += value.values()
        elif isinstance(value, Sequence):
            rest += value


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
