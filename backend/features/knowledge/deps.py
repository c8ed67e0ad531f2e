"""What the routes of knowledge work with."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from backend.features.knowledge.administration import DocumentAdministration
from backend.features.knowledge.collection_service import CollectionService
from backend.features.knowledge.dispatcher import Dispatcher
from backend.features.knowledge.document_service import DocumentService, Download
from backend.features.knowledge.intake import Intake
from backend.features.knowledge.progress import Progress
from backend.features.knowledge.uploads import FORM_BYTES, ReceivedFile, receive_file
from backend.features.knowledge.watching import ByteAnswer
from backend.web.body import RequestPieces
from backend.web.client import ClientWatch
from backend.web.side_api import SideRoute
from backend.web.streaming import AnswerResponse


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The services of knowledge."""

    collections: CollectionService
    documents: DocumentService
    intake: Intake
    administration: DocumentAdministration
    dispatcher: Dispatcher
    progress: Progress
    scratch: Path
    """A folder for files that come in."""
    document_bytes: int
    reads_images: bool
    """Whether there is text recognition, so that pictures are taken."""


def knowledge_of(request: Request) -> Knowledge:
    """Return the services."""
    knowledge: Knowledge = request.state.container.knowledge
    return knowledge


def received(request: Request) -> AbstractAsyncContextManager[ReceivedFile]:
    """Return the file of a request's form, there while the context lasts."""
    knowledge = knowledge_of(request)
    pieces = RequestPieces(request, knowledge.document_bytes + FORM_BYTES)
    content_type = request.headers.get("content-type", "")
    return receive_file(
        pieces, content_type, knowledge.scratch, knowledge.document_bytes, with_images=knowledge.reads_images
    )


def streamed(
    request: Request, pieces: AsyncIterator[bytes], content_type: str, headers: dict[str, str] | None = None
) -> Response:
    """Return a response of these pieces that ends when its reader leaves or may not go on."""
    watch = ClientWatch(request.receive, SideRoute.limits.write_stall_seconds)
    watch.start(getattr(request.state, "track", None))
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return AnswerResponse(ByteAnswer(pieces, content_type), watch, pairs)


def download_response(request: Request, download: Download) -> Response:
    """Return a file that no browser shows as a page of ours, or where to get it."""
    if download.url is not None:
        return RedirectResponse(download.url, 302, {"cache-control": "no-store"})
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(download.filename, safe='')}",
        "content-length": str(download.size),
        "content-security-policy": "sandbox; default-src 'none'",
    }
    return streamed(request, download.pieces, "application/octet-stream", headers)
