"""`passerelle ingest`: adds documents to a collection and reads them, with a bar that tells how far it is."""

import asyncio
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from backend.bootstrap.container import Container, open_container
from backend.core.config import Settings, load_settings
from backend.core.errors import GatewayError, PayloadTooLarge, RateLimited
from backend.core.logging import configure_logging
from backend.features.audit.service import Caller
from backend.features.auth.principal import OPERATOR
from backend.features.knowledge.collection_service import CollectionDraft
from backend.features.knowledge.entities import Entity, EntityKind
from backend.features.knowledge.models import Document
from backend.features.knowledge.states import SETTLED, Status
from backend.features.knowledge.uploads import describe

_OPERATOR = Caller(OPERATOR)
_LOOK_SECONDS = 0.3
_LEADS_OUT = "left out: this link leads out of the folder; name what it leads to if that is to be read too"
_AS_IT_IS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Opens no link, and waits for nobody who writes to a pipe."""
_LEADS_NOWHERE = "left out: this link leads nowhere"


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that was not taken, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to be read."""

    path: Path
    """What it is called."""
    meant: Path
    """Where it lies, without links."""


def ingest(paths: Sequence[Path], collection: str, email: str | None) -> None:
    """Add files, and all files in folders, to a collection; leave with 1 when some could not be read."""
    settings = load_settings()
    configure_logging("ERROR", settings.log_format)
    files, left_out = find_files(paths)
    for one in left_out:
        typer.echo(f"passerelle: {one.path}: {one.reason}", err=True)
    if not files:
        raise typer.BadParameter("there is no file", param_hint="PATHS")
    try:
        refused = asyncio.run(_ingest(settings, files, collection, email))
    except GatewayError as error:
        typer.echo(f"passerelle: {error.message}", err=True)
        raise typer.Exit(1) from None
    for one in refused:
        typer.echo(f"passerelle: {one.path}: {one.reason}", err=True)
    typer.echo(f"{len(files) - len(refused)} of {len(files)} documents are in the collection {collection!r}")
    if refused:
        raise typer.Exit(1)


def find_files(paths: Iterable[Path]) -> tuple[list[Found], list[Refused]]:
    """Return the files that are meant, each once, and the links that are left out.

    In a folder these are its files down to the deepest, without hidden ones. A link in it counts as the file it leads
    to, but none leads out of the folder: whoever may write there does not decide what else is read, not until it is
    copied either (see `_copy`).
    """
    files: dict[Path, Path] = {}
    left_out: list[Refused] = []
    for path in paths:
        if not path.is_dir():
            files.setdefault(path.resolve(), path)
            continue
        root, inside = path.resolve(), sorted(path.rglob("*"))
        # Links last: a file that is there by itself goes by its own name.
        for one in sorted(inside, key=Path.is_symlink):
            if any(part.startswith(".") for part in one.relative_to(path).parts):
                continue
            meant = _meant(one)
            if meant is None or not meant.is_relative_to(root):
                left_out.append(Refused(one, _LEADS_OUT if meant else _LEADS_NOWHERE))
            elif one.is_file():
                files.setdefault(meant, one)
    return [Found(path, meant) for meant, path in files.items()], left_out


def _meant(path: Path) -> Path | None:
    """Return where a path leads in the end; None for links in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


async def _ingest(settings: Settings, files: Sequence[Found], collection: str, email: str | None) -> list[Refused]:
    async with open_container(settings) as container:
        place = await _place(container, collection, email)
        with typer.progressbar(length=len(files), label="Reading", show_pos=True) as bar:
            reader = _Reading(container, place)
            for found in files:
                await reader.add(found)
                bar.update(await reader.look())
            while reader.waiting:
                await asyncio.sleep(_LOOK_SECONDS)
                bar.update(await reader.look())
        return reader.refused


async def _place(container: Container, name: str, email: str | None) -> Entity:
    """Return the collection of that name, made where its owner has none yet."""
    collections = container.knowledge.collections
    if email is None:
        found = await collections.named(name)
        if len(found) == 1:
            return Entity(EntityKind.COLLECTION, found[0].id)
        told = "no collection has this name" if not found else "several people have a collection of this name"
        raise typer.BadParameter(f"{told}; say whose it is with --user", param_hint="--collection")
    owner_id = await container.keys.own.owner_named(email.strip().lower())
    own = await collections.find_own(owner_id, name)
    if own is None:
        own = (await collections.create(_OPERATOR, CollectionDraft(name), owner_id)).collection
    return Entity(EntityKind.COLLECTION, own.id)


class _Reading:
    """The documents that were added, until they are read.

    A gateway on the same folder reads them: it alone writes its index of vectors. Without one this process does, and
    goes on with it when a gateway ends meanwhile.
    """

    def __init__(self, container: Container, place: Entity) -> None:
        self._knowledge = container.knowledge
        self._is_alone = container.vectors.is_ours
        self._place = place
        self._done = 0
        self.waiting: dict[uuid.UUID, Path] = {}
        self.refused: list[Refused] = []

    async def add(self, found: Found) -> None:
        """Add a file; wait for others to be read when too many wait."""
        path = found.path
        while True:
            try:
                document = await self._send(found)
            except RateLimited:
                self._begin()  # those that wait may be of a run that was broken off: nobody else reads them then
                await asyncio.sleep(_LOOK_SECONDS)
            except OSError as error:
                self.refused.append(Refused(path, (error.strerror or "error").lower()))
                self._done += 1
                return
            except GatewayError as error:
                self.refused.append(Refused(path, error.message))
                self._done += 1
                return
            else:
                self.waiting[document.id] = path
                return

    async def look(self) -> int:
        """Return how many more are done since this was last asked."""
        self._begin()
        for document_id, path in list(self.waiting.items()):
            document = (await self._knowledge.documents.get(OPERATOR, document_id)).document
            if document.status in SETTLED:
                del self.waiting[document_id]
                self._done += 1
                if document.status != Status.READY:
                    self.refused.append(Refused(path, document.error or document.status))
        done, self._done = self._done, 0
        return done

    def _begin(self) -> None:
        if self._is_alone():
            self._knowledge.dispatcher.start()

    async def _send(self, found: Found) -> Document:
        copy = self._knowledge.scratch / uuid.uuid4().hex
        try:
            size, sha256 = await asyncio.to_thread(_copy, found, copy, self._knowledge.document_bytes)
            file = await describe(copy, found.path.name, size, sha256, with_images=self._knowledge.reads_images)
            return (await self._knowledge.intake.add(_OPERATOR, self._place, file)).view.document
        finally:
            copy.unlink(missing_ok=True)


def _copy(found: Found, copy: Path, max_bytes: int) -> tuple[int, str]:
    """Copy what was found, unless something else lies there by now."""
    with open(os.open(found.meant, os.O_RDONLY | _AS_IT_IS), "rb") as source:  # noqa: PTH123 (of a descriptor)
        opened = os.fstat(source.fileno())
        is_file = stat.S_ISREG(opened.st_mode) and found.meant.resolve() == found.meant
        if not is_file or not os.path.samestat(opened, found.meant.lstat()):
            raise OSError(errno.ELOOP, "it was replaced by a link or something else meanwhile")
        if opened.st_size > max_bytes:
            raise PayloadTooLarge(f"this document is over {max_bytes} bytes; split it or leave images out")
        with copy.open("wb") as target:
            shutil.copyfileobj(source, target)
    with copy.open("rb") as file:
        return copy.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
