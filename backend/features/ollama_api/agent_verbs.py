"""Ollama's verbs for agents: `create`, `cp`, `rm` and `push` of names in the caller's own namespace.

Each verb first tells whether a request is about an agent; what is not goes on to the machines. An agent never gets
there, whoever owns it: its name resolves to the model it is made from, which nobody asked to change.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.agents.drafts import AgentDraft
from backend.features.agents.models import Agent
from backend.features.agents.service import AgentService, require_owner
from backend.features.audit.service import Caller
from backend.features.auth.principal import Permission, Principal
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.ollama_api.management import Management
from backend.features.ollama_api.progress import ProgressAnswer
from backend.llm.errors import ModelNotFound, ProviderError
from backend.llm.names import DEFAULT_HOST, DEFAULT_TAG, OWN_NAMESPACE, ModelName, parse_name, spelled_out
from backend.wire.ollama.management import CopyBody, CreateBody, DeleteBody, PushBody, told_of_modelfile
from backend.wire.ollama.schemas import read_body

_CREATED = ("writing manifest", "success")
_PUBLISHED = ("retrieving manifest", "pushing manifest", "success")
"""The stock client needs a line without a digest (`ollama-wire.md` 7.2)."""


class AgentVerbs:
    """See the module."""

    def __init__(self, catalog: CatalogService, agents: AgentService, machines: Management) -> None:
        self._catalog = catalog
        self._agents = agents
        self._machines = machines

    async def create(self, raw: bytes, caller: Caller) -> ProgressAnswer:
        """Do `POST /api/create`: make an agent, or make it anew."""
        principal = caller.principal
        body = read_body(raw, CreateBody)
        name = _own(body.wanted, principal)
        if name is None:
            await self._refuse_foreign(body.wanted, principal)
            return await self._machines.create(raw, principal)
        if not body.base:
            raise InvalidRequest(
                "an agent is made from a model: begin the Modelfile with FROM and its name" + told_of_modelfile(body)
            )
        if body.uploads or body.quantize or body.quantization:
            raise InvalidRequest("an agent has no files of its own; use FROM, SYSTEM, PARAMETER and MESSAGE only")
        if body.template or body.renderer or body.parser:
            raise InvalidRequest("an agent uses the template of its base; leave TEMPLATE, RENDERER and PARSER out")
        if any(turn.images or turn.tool_calls for turn in body.messages):
            raise InvalidRequest("an agent's messages are plain text; leave images and tool calls out")
        base = await self._catalog.resolve(body.base, principal)
        draft = AgentDraft(
            name=name.model,
            model=base.name.short,
            system_prompt=body.system,
            parameters={key: value for key, value in body.parameters.items() if value is not None},
            messages=[{"role": turn.role, "content": turn.content} for turn in body.messages],
        )
        await self._agents.save(caller, draft)
        return await _told(_CREATED, is_streamed=body.stream)

    async def copy(self, raw: bytes, caller: Caller) -> bytes:
        """Do `POST /api/copy`: make an agent from a model or from another agent."""
        principal = caller.principal
        body = read_body(raw, CopyBody)
        target = _own(body.destination, principal)
        source = await self._find(body.source, principal)
        if target is None:
            await self._refuse_foreign(body.destination, principal)
            if source is not None and source.preset is not None:
                raise InvalidRequest(f"a copy of an agent is an agent too: name it {OWN_NAMESPACE}/<name>")
            return await self._machines.copy(raw, principal)
        if source is None:
            raise ModelNotFound(f'model "{body.source}" not found')
        await self._agents.save(caller, AgentDraft(name=target.model, model=source.name.short))
        return b""

    async def delete(self, raw: bytes, caller: Caller) -> bytes:
        """Do `DELETE /api/delete`: remove an agent."""
        principal = caller.principal
        body = read_body(raw, DeleteBody)
        if (agent := await self._own_agent(body.wanted, principal)) is None:
            return await self._machines.delete(raw, principal)
        await self._agents.delete(caller, agent.id)
        return b""

    async def push(self, raw: bytes, caller: Caller) -> ProgressAnswer:
        """Do `POST /api/push`: let everybody use an agent."""
        principal = caller.principal
        body = read_body(raw, PushBody)
        if (agent := await self._own_agent(body.wanted, principal)) is None:
            return await self._machines.push(raw, principal)
        await self._agents.publish(caller, agent.id)
        return await _told(_PUBLISHED, is_streamed=body.stream)

    async def _own_agent(self, wanted: str, principal: Principal) -> Agent | None:
        """Return the caller's agent of a name, or None when the name is not about an agent."""
        name = _own(wanted, principal)
        if name is None:
            await self._refuse_foreign(wanted, principal)
            return None
        agent = await self._agents.find_own(principal, name.model.lower())
        if agent is None and await self._catalog.find_base(name) is not None:
            return None
        if agent is None:
            raise ModelNotFound(f"model '{wanted}' not found")
        return agent

    async def _refuse_foreign(self, wanted: str, principal: Principal) -> None:
        """Refuse `me/` to callers without an account, and agents that are not the caller's own.

        An agent they may not use is to them like a name that nothing has.
        """
        name = parse_name(wanted)
        if name is not None and name.namespace.lower() == OWN_NAMESPACE and name.host.lower() == DEFAULT_HOST:
            require_owner(principal)
        model = await self._find(wanted, principal)
        if model is not None and model.preset is not None:
            raise NotPermitted(f"'{model.name.short}' is somebody else's agent; only its owner may do this")

    async def _find(self, wanted: str, principal: Principal) -> CatalogModel | None:
        try:
            return await self._catalog.resolve(wanted, principal)
        except (ProviderError, InvalidRequest):
            return None


def _own(wanted: str, principal: Principal) -> ModelName | None:
    """Return a name in the caller's own namespace with the trigramme spelled out; None for any other."""
    parsed = parse_name(wanted)
    if parsed is None or not principal.trigramme:
        return None
    name = spelled_out(parsed, principal.trigramme)
    if name.namespace.lower() != principal.trigramme or name.host.lower() != DEFAULT_HOST:
        return None
    principal.require(Permission.WRITE_AGENTS)
    if name.tag.lower() != DEFAULT_TAG:
        raise InvalidRequest(f"agents have no tags; use '{name.namespace}/{name.model}'")
    return name


async def _told(steps: tuple[str, ...], *, is_streamed: bool) -> ProgressAnswer:
    answer = ProgressAnswer(_progress(steps), is_streamed=is_streamed)
    await answer.prime()
    return answer


async def _progress(steps: tuple[str, ...]) -> AsyncIterator[Mapping[str, Any]]:
    for status in steps:
        yield {"status": status}
