"""All agents in memory, with who may use each; no request waits for the store.

The snapshot is made anew after every change in this process. Changes of other processes are noticed by a small query
every few seconds; once a minute everything is read in any case. While the store does not answer, the last snapshot
stands.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from backend.core.db.database import Database
from backend.core.errors import GatewayError
from backend.core.logging import get_logger
from backend.features.agents.collections import agents_with_documents
from backend.features.agents.drafts import read_knowledge
from backend.features.agents.models import Agent
from backend.features.agents.repository import AgentRepository, OwnedAgent, Revision
from backend.features.auth.principal import Permission, Principal
from backend.llm.names import DEFAULT_HOST, DEFAULT_TAG, ModelName, parse_name
from backend.llm.presets import Preset
from backend.llm.types import Message, TextPart
from backend.wire.ollama.options import read_options

_log = get_logger(__name__)

LOOK_SECONDS = 3.0
READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Entry:
    owner_id: uuid.UUID
    is_public: bool
    role_ids: frozenset[uuid.UUID]
    masked: Preset
    shown: Preset

    def seen_by(self, principal: Principal) -> Preset | None:
        """Return the preset as a caller may have it, or None when they may not use it."""
        if principal.may(Permission.MANAGE_AGENTS) or principal.user_id == self.owner_id:
            return self.shown
        return self.masked if self.is_public or principal.role_id in self.role_ids else None


class AgentIndex:
    """Implements `catalog.presets.PresetSource` on a snapshot of the store."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._agents = AgentRepository()
        self._entries: Mapping[str, _Entry] = {}
        self._revision: Revision | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    def find(self, name: ModelName, principal: Principal) -> Preset | None:
        """See `PresetSource.find`."""
        entry = self._entries.get(name.key)
        return None if entry is None else entry.seen_by(principal)

    def all(self, principal: Principal) -> Sequence[Preset]:
        """See `PresetSource.all`."""
        return [preset for entry in self._entries.values() if (preset := entry.seen_by(principal)) is not None]

    def takes(self, name: ModelName) -> bool:
        """See `PresetSource.takes`."""
        return name.key in self._entries

    async def refresh(self, *, only_if_changed: bool = False) -> None:
        """Read the store now; raise `StoreUnavailable` when it does not answer."""
        async with self._reading, self._database.reading() as session:
            revision = await self._agents.revision(session)
            is_fresh = revision == self._revision and self._clock() - self._read_at < READ_SECONDS
            if only_if_changed and is_fresh:
                return
            documented = await agents_with_documents(session)
            entries = [
                _entry(owned, has_documents=owned.agent.id in documented)
                for owned in await self._agents.everything(session)
            ]
            known = [entry for entry in entries if entry is not None]
            self._entries = {e.shown.name.key: e for e in sorted(known, key=lambda e: e.shown.name.key)}
            self._revision, self._read_at = revision, self._clock()

    async def changed(self) -> None:
        """Read the store after a change of ours; it is done whatever comes of this."""
        try:
            await self.refresh()
        except GatewayError as error:
            _log.warning("agents_unread", reason=error.message)

    def start(self) -> None:
        """Begin to look for changes of other processes."""
        self._looking = asyncio.create_task(self._look(), name="look for changed agents")

    async def aclose(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh(only_if_changed=True)
            except GatewayError as error:
                _log.warning("agents_unread", reason=error.message)
            except Exception:  # noqa: BLE001 (looking goes on; the last snapshot stands)
                _log.exception("agents_unread_unexpectedly")


def full_name(trigramme: str, name: str) -> ModelName:
    """Return the name under which clients find an agent."""
    return ModelName(DEFAULT_HOST, trigramme, name, DEFAULT_TAG)


def to_preset(agent: Agent, trigramme: str, *, has_documents: bool = False) -> Preset | None:
    """Return an agent in canonical form, its prompt masked; None for a row that no longer makes sense."""
    base = parse_name(agent.model)
    if base is None:
        return None
    return Preset(
        preset_id=str(agent.id),
        name=full_name(trigramme, agent.name),
        base=base,
        modified_at=agent.updated_at,
        system_prompt=agent.system_prompt,
        sampling=read_options(agent.parameters),
        messages=tuple(Message(turn["role"], (TextPart(turn["content"]),)) for turn in agent.messages),
        description=agent.description,
        knowledge=read_knowledge(agent.knowledge or {}) if has_documents else None,
        learns=agent.learn_from_interaction,
    )


def _entry(owned: OwnedAgent, *, has_documents: bool) -> _Entry | None:
    agent = owned.agent
    try:
        masked = to_preset(agent, owned.trigramme, has_documents=has_documents)
    except (GatewayError, LookupError, TypeError):
        masked = None
    if masked is None:
        _log.error("agent_unusable", agent=str(agent.id))
        return None
    roles = frozenset(share.role_id for share in agent.shares)
    return _Entry(agent.owner_id, agent.is_public, roles, masked, replace(masked, shows_prompt=True))
