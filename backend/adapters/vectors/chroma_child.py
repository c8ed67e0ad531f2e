"""`chroma run` as a child of this process, on a free port of this machine; started when it is needed."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from backend.adapters.vectors.folder_lock import FolderLock
from backend.core.errors import ConfigurationError, StoreUnavailable
from backend.core.logging import get_logger

_log = get_logger(__name__)

_HOST = "127.0.0.1"
_START_SECONDS, _STOP_SECONDS = 20.0, 10.0
_PAUSE_SECONDS = 5.0
"""How long a child that ended by itself is not started again."""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "ANONYMIZED_TELEMETRY": "False"}
_START = (
    "import ctypes, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 15)\n"  # it ends when its parent does, however that ends
    "from chromadb.cli.cli import app\n"
    "app()\n"
)
_AWAY = "the Chroma server of this gateway cannot be started; look at its log"


class ChromaChild:
    """Keeps one server running on `folder`, which it holds alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FolderLock(folder)
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self._starting = asyncio.Lock()
        self._ended_at = float("-inf")

    async def address(self) -> str:
        """See `ChromaServer.address`."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()
            return f"http://{_HOST}:{self._port}"

    async def aclose(self) -> None:
        """See `ChromaServer.aclose`."""
        async with self._starting:
            await self._stop()
            self._lock.release()

    async def _start(self) -> None:
        if time.monotonic() - self._ended_at < _PAUSE_SECONDS:
            raise StoreUnavailable(_AWAY)
        try:
            self._lock.acquire()
        except ConfigurationError as error:
            raise StoreUnavailable(str(error)) from error
        self._port = _free_port()
        held = self._lock.descriptor
        with (self._folder / "server.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _START, "run", "--host", _HOST, "--port", str(self._port)),
                *("--path", str(self._folder / "server")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_ENVIRONMENT,
                cwd=self._folder,
                start_new_session=True,
                pass_fds=() if held is None else (held,),
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._wait_until_it_listens(self._process)
        except BaseException as error:
            await self._stop()
            self._ended_at = time.monotonic()
            if isinstance(error, TimeoutError):
                raise StoreUnavailable(_AWAY) from error
            raise
        _log.info("chroma_started", port=self._port)

    async def _wait_until_it_listens(self, process: asyncio.subprocess.Process) -> None:
        while process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(_HOST, self._port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise StoreUnavailable(_AWAY)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])
