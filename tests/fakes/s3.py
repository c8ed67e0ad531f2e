"""An S3 server on a free port, with a bucket, that a test can let fail or hang."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from backend.adapters.blobs.s3 import S3Blobs, stay_there
from backend.adapters.blobs.s3_place import S3Place

_BUCKET = "documents"
_DENIED = b"<Error><Code>AccessDenied</Code><Message>canary</Message></Error>"
_STATUS = {200: "200 OK", 503: "503 Slow Down", 307: "307 Temporary Redirect", 403: "403 Forbidden"}
_WAIT_SECONDS = 10.0

Application = Callable[[Any, Any], Iterable[bytes]]


class _Quiet(WSGIRequestHandler):
    """Writes no line for each request."""

    protocol_version = "HTTP/1.1"

    def log(self, *_arguments: object) -> None:
        """Do nothing."""


class S3Server:
    """Started and stopped by `with`."""

    secret = "a-secret-key-of-the-bucket"  # noqa: S105 (of a server made here)

    def __init__(self) -> None:
        self._moto: Application = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._method = ""
        self._left = 0
        self._status: int | None = None
        self._hangs = False
        self._completes = True
        self._is_hanging = threading.Event()
        self._has_failed = threading.Event()
        self._go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def place(self, **changed: Any) -> S3Place:
        """Return how it is used."""
        place = S3Place(self.url, _BUCKET, "us-east-1", "an-access-key", self.secret, self.url, redirects=True)
        return replace(place, **changed)

    def __enter__(self) -> Self:
        self._thread.start()
        _backend().create_bucket(_BUCKET, "us-east-1")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_WAIT_SECONDS)
        _backend().reset()

    def answer_with(self, status: int) -> None:
        """Do nothing from now on but say this."""
        self._status = status

    def fail_to_complete(self) -> None:
        """Say 200 to whoever completes an upload, and in the body that it went wrong."""
        self._completes = False

    def fail_after(self, count: int, method: str) -> None:
        """Say 503 to all requests of a method but the next ones, `count` of them being the first that fails."""
        self._method, self._left, self._hangs = method, count - 1, False
        self._has_failed.clear()

    def hang_after(self, count: int, method: str) -> None:
        """Answer no more to such a request."""
        self._method, self._left, self._hangs = method, count - 1, True
        self._is_hanging.clear()
        self._go_on.clear()

    async def failing(self) -> None:
        """Wait until a request has failed."""
        assert await asyncio.to_thread(self._has_failed.wait, _WAIT_SECONDS)

    async def hanging(self) -> None:
        """Wait until a request is not answered."""
        assert await asyncio.to_thread(self._is_hanging.wait, _WAIT_SECONDS)

    def work_again(self) -> None:
        """Forget all that."""
        self._method, self._status, self._completes = "", None, True
        self._go_on.set()

    def keys(self) -> list[str]:
        """Return the keys of all files."""
        return list(_backend().buckets[_BUCKET].keys)

    def unfinished(self) -> list[str]:
        """Return the keys of uploads that are neither complete nor given up."""
        return [upload.key_name for upload in _backend().list_multipart_uploads(_BUCKET).values()]

    def _serve(self, environ: Any, start: Any) -> Iterable[bytes]:
        status = self._status
        if status is None and environ["REQUEST_METHOD"] == self._method:
            self._left -= 1
            if self._left < 0 and self._hangs:
                self._is_hanging.set()
                self._go_on.wait(_WAIT_SECONDS)
            status = 503 if self._left < 0 else None
            if status is not None:
                self._has_failed.set()
        if not self._completes and environ["REQUEST_METHOD"] == "POST" and "uploadId=" in environ["QUERY_STRING"]:
            status = 200
        if status is None:
            return self._moto(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = _DENIED if status in {200, 403} else b"<canary/>"
        kind = "application/xml" if body is _DENIED else "text/html"
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Location", "http://127.0.0.1:1/canary"),
        ]
        start(_STATUS[status], headers)
        return [body]


@contextlib.asynccontextmanager
async def opened_blobs(server: S3Server, folder: Path, **changed: Any) -> AsyncIterator[S3Blobs]:
    """Give the files of a bucket, with copies in a folder."""
    async with aiohttp.ClientSession(middlewares=(stay_there,)) as session:
        yield S3Blobs(server.place(**changed), session, folder)


def _backend() -> Any:
    return s3_backends["123456789012"]["aws"]
