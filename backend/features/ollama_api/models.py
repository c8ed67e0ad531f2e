"""Listing, describing and pulling models as Ollama's clients ask for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backend.core.clock import read_rfc3339
from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.auth.principal import Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.ollama_api.profiles import profile_of
from backend.features.ollama_api.progress import ProgressAnswer
from backend.llm.errors import ModelNotFound, ProviderError, PullFailed
from backend.llm.names import ModelName, parse_name
from backend.llm.ports import ModelServer
from backend.wire.jsontext import encode_json
from backend.wire.ollama import replies
from backend.wire.ollama.presets import preset_running_entry, preset_show_reply, preset_tags_entry
from backend.wire.ollama.schemas import PullBody, ShowBody, read_body

_NEVER = datetime.min.replace(tzinfo=UTC)
_RUNNING_SECONDS = 1.0
"""`/api/ps` is polled every few seconds: a machine that hangs must not hold it up."""


class Models:
    """Ollama's model routes, without HTTP.

    Args:
        forward_pull: whether names that are not here are pulled on the first Ollama backend.
        pull_hosts: registries a pulled name may point to; others could make the machine fetch from anywhere.
    """

    def __init__(
        self, catalog: CatalogService, recent: RecentModels, *, forward_pull: bool, pull_hosts: Sequence[str]
    ) -> None:
        self._catalog = catalog
        self._recent = recent
        self._forward_pull = forward_pull
        self._pull_hosts = frozenset(host.lower() for host in pull_hosts)

    async def tags(self, principal: Principal) -> bytes:
        """Return the reply to `GET /api/tags`: every model of every backend, the newest first."""
        entries = [_tags_entry(model) for model in await self._catalog.models(principal)]
        entries.sort(key=lambda entry: _moment(entry.get("modified_at")).replace(microsecond=0), reverse=True)
        return encode_json({"models": entries})

    async def show(self, raw: bytes, principal: Principal, user_agent: str) -> bytes:
        """Return the reply to `POST /api/show`."""
        body = read_body(raw, ShowBody)
        if not body.wanted:
            raise InvalidRequest("model is required")
        model = await self._find(body.wanted, principal)
        reply = await self._describe(model, body)
        if model.preset is not None:
            reply = preset_show_reply(model.preset, reply)
        if body.system and not model.serves_itself:
            reply["system"] = body.system
        if profile_of(user_agent).basename_as_asked:
            reply["model_info"] = {**reply["model_info"], "general.basename": body.wanted}
        return encode_json(reply)

    async def running(self, principal: Principal) -> bytes:
        """Return the reply to `GET /api/ps`: what Ollama machines have loaded, and hosted models used lately."""
        servers = [b.server for b in self._catalog.backends if b.server is not None]
        loaded = [entry for entries in await asyncio.gather(*map(_running, servers)) for entry in entries]
        known = {model.name.key: model for model in await self._catalog.models(principal)}
        for key, until in self._recent.loaded().items():
            if (model := known.get(key)) is not None:
                loaded.append(_running_entry(model, until))
        loaded.sort(key=lambda entry: _moment(entry.get("expires_at")), reverse=True)
        return encode_json({"models": loaded})

    async def pull(self, raw: bytes, principal: Principal) -> ProgressAnswer:
        """Return the progress of `POST /api/pull`: a hosted model is already there, an Ollama machine pulls."""
        body = read_body(raw, PullBody)
        name = parse_name(body.wanted)
        if name is None:
            raise InvalidRequest("invalid model name")
        answer = ProgressAnswer(await self._begin_pull(name, body.wanted, principal), is_streamed=body.stream)
        try:
            await answer.prime()
        except ModelNotFound:
            raise PullFailed(replies.PULL_UNKNOWN) from None
        return answer

    async def _begin_pull(self, name: ModelName, wanted: str, principal: Principal) -> AsyncIterator[Mapping[str, Any]]:
        try:
            model = await self._catalog.resolve(wanted, principal)
        except ProviderError as error:
            servers = [b.server for b in self._catalog.backends if b.server is not None]
            if self._catalog.is_reserved(name, principal):
                return _unknown()  # a stranger's model would stand in the place of an agent
            if servers:
                return self._forward(servers[0], name)
            if not isinstance(error, ModelNotFound):
                raise  # a backend that cannot be asked may well have it
            return _unknown()
        server = model.backend.server
        return self._forward(server, name) if server is not None and model.serves_itself else _known()

    async def _find(self, wanted: str, principal: Principal) -> CatalogModel:
        try:
            return await self._catalog.resolve(wanted, principal)
        except ModelNotFound:
            raise _unknown_model(wanted) from None

    async def _describe(self, model: CatalogModel, body: ShowBody) -> dict[str, Any]:
        """Return what is told about a model, or about the base of one of ours."""
        if (server := model.backend.server) is None:
            name = model.name if model.preset is None else model.preset.base
            return replies.show_reply(name, model.info, model.backend.name)
        try:
            reply = dict(await server.show(model.info.model_id, verbose=body.verbose))
        except ModelNotFound:
            raise _unknown_model(body.wanted) from None
        reply = {key: value for key, value in reply.items() if key not in {"remote_model", "remote_host"}}
        if not isinstance(reply.get("model_info"), dict):
            reply["model_info"] = {}
        reply.setdefault("capabilities", ["completion"])
        return reply

    def _forward(self, server: ModelServer, name: ModelName) -> AsyncIterator[Mapping[str, Any]]:
        if not self._forward_pull:
            raise NotPermitted("pulling models is switched off here; ask the gateway's operator")
        if name.host.lower() not in self._pull_hosts:
            raise NotPermitted(f"pulling from {name.host} is not allowed here; ask the gateway's operator")
        # Never the caller's own spelling: it may hide another host.
        return self._progress(server, name.short)

    async def _progress(self, server: ModelServer, wanted: str) -> AsyncIterator[Mapping[str, Any]]:
        async for step in server.pull(wanted):
            yield step
        self._catalog.forget()


def _tags_entry(model: CatalogModel) -> dict[str, Any]:
    if model.preset is not None:
        return preset_tags_entry(model.preset, model.info)
    return replies.tags_entry(model.name, model.info)


def _running_entry(model: CatalogModel, until: datetime) -> dict[str, Any]:
    if model.preset is not None:
        return preset_running_entry(model.preset, model.info, until)
    return replies.running_entry(model.name, model.info, until)


def _unknown_model(wanted: str) -> ModelNotFound:
    """Say it as `/api/show` does: with the tag, whether the caller wrote one or not."""
    name = parse_name(wanted)
    return ModelNotFound(f"model '{name.short if name else wanted}' not found")


def _moment(text: object) -> datetime:
    """Return the moment an entry names; the distant past when it names none."""
    return read_rfc3339(text) or _NEVER


async def _running(server: ModelServer) -> Sequence[Mapping[str, Any]]:
    """Return what a machine has loaded; one that does not answer has nothing to show."""
    try:
        async with asyncio.timeout(_RUNNING_SECONDS):
            return await server.running()
    except (ProviderError, TimeoutError):
        return ()


async def _known() -> AsyncIterator[Mapping[str, Any]]:
    for status in replies.PULL_STEPS:
        yield {"status": status}


async def _unknown() -> AsyncIterator[Mapping[str, Any]]:
    yield {"status": replies.PULL_STEPS[0]}
    raise PullFailed(replies.PULL_UNKNOWN)
