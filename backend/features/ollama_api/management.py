"""Creating, copying, deleting and pushing models, and uploading their files, as Ollama's clients ask for it.

All of this changes machines that everybody shares. It is forwarded only for callers who may manage models, and only
when the operator has switched it on; the machine's own checks are not relied on (`security-reliability.md` 1.1).

Which machine: `copy` and `delete` go to every machine that lists the model, `push` and `create` to the first that lists
it (or the model it is made from). Files go to the first Ollama backend, so a model made of files is made there.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.auth.principal import Permission, Principal
from backend.features.catalog.backends import Backend
from backend.features.catalog.service import CatalogModel, CatalogService
from backend.features.ollama_api.progress import ProgressAnswer
from backend.llm.digests import BlobDigest, parse_digest
from backend.llm.errors import ModelNotFound, ProviderError
from backend.llm.names import DEFAULT_HOST, OWN_NAMESPACE, ModelName, parse_name
from backend.llm.ports import ModelServer
from backend.wire.ollama.management import (
    CopyBody,
    CreateBody,
    DeleteBody,
    PushBody,
    check_create,
    told_of_modelfile,
    write_create,
)
from backend.wire.ollama.schemas import read_body

_SHOWN = 100
"""Characters of a name that cannot be one which are repeated to the caller."""


@dataclass(frozen=True, slots=True)
class ManagementRules:
    """What the operator lets callers with the permission do."""

    manage: bool = False
    push: bool = False
    registries: Sequence[str] = ()
    """Hosts that a pushed name, or the name of a new model, may point to."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A model on one machine, under the name it has there."""

    backend: Backend
    server: ModelServer
    name: ModelName


class Management:
    """The routes that change models, without HTTP."""

    def __init__(self, catalog: CatalogService, rules: ManagementRules) -> None:
        self._catalog = catalog
        self._rules = rules
        self._registries = frozenset(host.lower() for host in rules.registries)

    async def create(self, raw: bytes, principal: Principal) -> ProgressAnswer:
        """Return the progress of `POST /api/create`: a model from one of the machine's, or from uploaded files."""
        body = read_body(raw, CreateBody)
        check_create(body)
        name = parse_name(body.wanted)
        if name is None:
            raise InvalidRequest("invalid model name")
        if not body.base and not body.files:
            raise InvalidRequest("neither 'from' or 'files' was specified" + told_of_modelfile(body))
        backend, server = self._first_machine(_agent_hint(name, principal))
        base = None
        if body.base:
            place = _best(await self._places(body.base, principal, "built upon"), backend)
            if body.uploads and place.backend is not backend:
                raise InvalidRequest(
                    f"uploaded files are on backend {backend.name!r}, but model '{place.name.short}' is on "
                    f"{place.backend.name!r}; create from a model of {backend.name!r}"
                )
            server, base = place.server, place.name.short
        await self._require_free(name, principal)
        self._require_manager(principal)
        self._require_unreserved(name, principal)
        steps = server.create(write_create(body, name.short, base))
        return await self._open(steps, body.base or name.short, is_streamed=body.stream)

    async def push(self, raw: bytes, principal: Principal) -> ProgressAnswer:
        """Return the progress of `POST /api/push`; only to a registry the operator allows, never `insecure`."""
        body = read_body(raw, PushBody)
        if not body.wanted:
            raise InvalidRequest("model is required")
        place = (await self._places(body.wanted, principal, "pushed"))[0]
        self._require_permission(principal)
        if not self._rules.push:
            raise NotPermitted(
                "pushing models is switched off here; the gateway's operator can allow it with GATEWAY_OLLAMA__PUSH"
            )
        if place.name.host.lower() not in self._registries:
            raise NotPermitted(f"pushing to {place.name.host} is not allowed here; ask the gateway's operator")
        return await self._open(place.server.push(place.name.short), body.wanted, is_streamed=body.stream)

    async def copy(self, raw: bytes, principal: Principal) -> bytes:
        """Do `POST /api/copy`; the reply has no body."""
        body = read_body(raw, CopyBody)
        if parse_name(body.source) is None:
            raise InvalidRequest(f'source "{body.source[:_SHOWN]}" is invalid')
        destination = parse_name(body.destination)
        if destination is None:
            raise InvalidRequest(f'destination "{body.destination[:_SHOWN]}" is invalid')
        unknown = ModelNotFound(f'model "{body.source}" not found')
        try:
            places = await self._places(body.source, principal, "copied")
        except ModelNotFound:
            raise unknown from None
        await self._require_free(destination, principal)
        self._require_manager(principal)
        self._require_unreserved(destination, principal)
        done = 0
        for place in places:
            done += await self._change(place.server.copy(place.name.short, destination.short))
        if not done:
            raise unknown
        return b""

    async def delete(self, raw: bytes, principal: Principal) -> bytes:
        """Do `DELETE /api/delete`; the reply has no body."""
        body = read_body(raw, DeleteBody)
        if not body.wanted:
            raise InvalidRequest("model is required")
        if parse_name(body.wanted) is None:
            raise InvalidRequest(f'name "{body.wanted[:_SHOWN]}" is invalid')
        places = await self._places(body.wanted, principal, "deleted")
        self._require_manager(principal)
        done = 0
        for place in places:
            done += await self._change(place.server.delete(place.name.short))
        if not done:
            raise ModelNotFound(f"model '{body.wanted}' not found")
        return b""

    async def has_blob(self, digest: str, principal: Principal) -> bool:
        """Whether `HEAD /api/blobs/{digest}` finds the file."""
        wanted, server = self._blob(digest, principal)
        return await server.has_blob(wanted)

    async def put_blob(self, digest: str, pieces: AsyncIterator[bytes], principal: Principal) -> bool:
        """Do `POST /api/blobs/{digest}`; return whether it was stored, False when it was there already.

        The file passes through while it is hashed: one that does not match never becomes whole on the machine.
        """
        wanted, server = self._blob(digest, principal)
        if await server.has_blob(wanted):
            return False
        await server.put_blob(wanted, _HashedPieces(pieces, wanted))
        return True

    def _blob(self, digest: str, principal: Principal) -> tuple[BlobDigest, ModelServer]:
        parsed = parse_digest(digest)
        if parsed is None:
            raise InvalidRequest("invalid digest format")
        _, server = self._first_machine()
        self._require_manager(principal)
        return parsed, server

    def _first_machine(self, hint: str = "") -> tuple[Backend, ModelServer]:
        for backend in self._catalog.backends:
            if backend.server is not None:
                return backend, backend.server
        raise InvalidRequest(
            "there is no Ollama machine behind this gateway to keep models on; its operator can set OLLAMA_BASE_URLS"
            + hint
        )

    async def _places(self, wanted: str, principal: Principal, done: str) -> Sequence[_Place]:
        """Return where a model is, under its own name there; refuse one that is not on an Ollama machine."""
        model = await self._catalog.resolve(wanted, principal)
        if model.preset is not None:
            raise InvalidRequest(f"'{model.name.short}' is an agent; its base on a machine is not changed through it")
        places = [
            place for candidate in model.candidates if (place := _place(candidate.backend, candidate.info.model_id))
        ]
        if not places:
            raise InvalidRequest(
                f"model '{model.name.short}' is served by backend {model.backend.name!r}, which keeps its models "
                f"itself; only models of Ollama machines can be {done}"
            )
        return places

    async def _require_free(self, name: ModelName, principal: Principal) -> None:
        """Refuse a name the caller may not use, one at a strange registry, or one that stands for a hosted model.

        A machine downloads a base it no longer has from the registry in its name, so no caller may choose that.
        """
        if name.host.lower() != DEFAULT_HOST and name.host.lower() not in self._registries:
            raise NotPermitted(f"names at {name.host} are not allowed here; ask the gateway's operator")
        if not principal.may_use(name):
            raise NotPermitted(f"your key may not use the name '{name.short}'; choose one it may use")
        try:
            known: CatalogModel = await self._catalog.resolve(name.short, principal)
        except ProviderError:
            return
        if known.backend.server is None:
            raise InvalidRequest(f"'{name.short}' is a model of backend {known.backend.name!r}; choose another name")

    def _require_unreserved(self, name: ModelName, principal: Principal) -> None:
        """Refuse a name that an agent has; asked last, because agents are nobody else's business."""
        if self._catalog.is_reserved(name, principal):
            raise InvalidRequest(f"'{name.short}' is kept for an agent; choose another name")

    def _require_manager(self, principal: Principal) -> None:
        self._require_permission(principal)
        if not self._rules.manage:
            raise NotPermitted(
                "managing models is switched off here; the gateway's operator can allow it with GATEWAY_OLLAMA__MANAGE"
            )

    def _require_permission(self, principal: Principal) -> None:
        if not principal.may(Permission.MANAGE_MODELS):
            raise NotPermitted(
                "your key may not manage models; ask the gateway's operator for one of GATEWAY_ADMIN_KEYS"
            )

    async def _open(self, steps: AsyncIterator[Mapping[str, Any]], wanted: str, *, is_streamed: bool) -> ProgressAnswer:
        answer = ProgressAnswer(self._watched(steps), is_streamed=is_streamed)
        try:
            await answer.prime()
        except ModelNotFound:
            raise ModelNotFound(f"model '{wanted}' not found") from None
        return answer

    async def _watched(self, steps: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[Mapping[str, Any]]:
        try:
            async for step in steps:
                yield step
        finally:
            self._catalog.forget()
            if close := getattr(steps, "aclose", None):
                await close()

    async def _change(self, change: Awaitable[None]) -> bool:
        """Await a change on one machine; return whether the model was there."""
        try:
            await change
        except ModelNotFound:
            return False
        finally:
            self._catalog.forget()
        return True


class _HashedPieces:
    """Pieces that end in an error instead of their end when the whole does not have the digest it should.

    A piece is a buffer of the network, hashed in less time than handing it to a thread takes.
    """

    def __init__(self, pieces: AsyncIterator[bytes], digest: BlobDigest) -> None:
        self._pieces = pieces
        self._digest = digest
        self._hash = hashlib.sha256()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece."""
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            if (got := self._hash.hexdigest()) != self._digest.hex:
                raise InvalidRequest(f'digest mismatch, expected "{self._digest}", got "sha256:{got}"') from None
            raise
        self._hash.update(piece)
        return piece


def _agent_hint(name: ModelName, principal: Principal) -> str:
    """Return what to add for a caller who may have meant an agent of theirs."""
    may = principal.trigramme and principal.may(Permission.WRITE_AGENTS)
    return f"; for an agent of yours, name it {OWN_NAMESPACE}/{name.model}" if may else ""


def _place(backend: Backend, model_id: str) -> _Place | None:
    name = parse_name(model_id)
    return None if backend.server is None or name is None else _Place(backend, backend.server, name)


def _best(places: Sequence[_Place], backend: Backend) -> _Place:
    """Return the place on the machine that has the files, or else the first."""
    return next((place for place in places if place.backend is backend), places[0])
