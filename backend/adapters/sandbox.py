"""Reads a document in a fresh process: no secrets, no environment, bounded memory, time and output.

A hostile file may take that process down and nothing else (`rag.md` 2.2). Starting one costs about a tenth of a second.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from backend.extraction.pages import MAX_PIECE, MAX_TEXT, Page, Unreadable

_ENTRY = Path(__file__).parents[1] / "extraction" / "__main__.py"
_MAX_LINE = MAX_PIECE * 12 + 1_000
"""Bytes of one line: JSON writes a character in twelve at most. It is decoded on the loop."""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "OMP_THREAD_LIMIT": "1"}
"""The last one is for tesseract: threads only make it slower, and others work here too."""
_FAILED = "this document could not be read: it needs more than reading one may take, or it is damaged; save it again"
_SLOW = "reading this document took too long; split it or save it again"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What reading one document may take."""

    memory_bytes: int = 1536 * 2**20
    cpu_seconds: int = 60
    seconds: float = 120.0
    """In all; while pages are recognised, between two of them."""
    recognition_seconds: float = 1800.0
    """In all, for a document whose pages are recognised."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """Text recognition by tesseract, in the same processes and under the same limits."""

    binary: str
    languages: str
    pages: int
    """Of one document."""


class Sandbox:
    """Extracts text in processes that end with their document.

    Args:
        limits: what one document may take.
        recognition: what reads scans; None leaves them unread.
    """

    def __init__(self, limits: SandboxLimits = SandboxLimits(), recognition: Recognition | None = None) -> None:
        self._limits = limits
        self._recognition = recognition

    async def read(self, path: Path, name: str) -> AsyncGenerator[Page]:
        """Yield the pages of the document at `path`, called `name` by its owner; raise `Unreadable` if it has none.

        Scans that nobody read are marked, and have next to no text.
        Close the iterator when it is left early: the process ends with it.
        """
        with path.open("rb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_ENTRY), name[-200:] or "document"),
                *self._arguments(),
                stdin=file,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                limit=_MAX_LINE,
            )
        try:
            async with asyncio.timeout(self._limits.seconds) as deadline:
                async for page in _pages(process, self._put_off(deadline)):
                    yield page
        except TimeoutError:
            raise Unreadable(_SLOW) from None
        finally:
            await _end(process)

    def _arguments(self) -> tuple[str, ...]:
        memory, cpu = self._limits.memory_bytes, self._limits.cpu_seconds
        if (used := self._recognition) is None:
            return str(memory), str(cpu)
        return str(memory), str(cpu + used.pages), used.binary, used.languages, str(used.pages)  # a second to draw each

    def _put_off(self, deadline: asyncio.Timeout) -> Callable[[], None]:
        """Return what gives more time, up to all that recognising a document may take."""
        now = asyncio.get_running_loop().time
        last = now() + self._limits.recognition_seconds

        def put_off() -> None:
            if self._recognition is not None:
                deadline.reschedule(min(now() + self._limits.seconds, last))

        return put_off


async def _pages(process: asyncio.subprocess.Process, put_off: Callable[[], None]) -> AsyncIterator[Page]:
    """Yield what the process writes until it says that this was all; `put_off` is called before a page takes longer."""
    stdout = process.stdout
    size = 0
    while stdout is not None and (line := await _line(stdout)):
        told = json.loads(line)
        if "error" in told:
            raise Unreadable(str(told["error"])[:300])
        if "done" in told:
            return
        if "recognizing" in told:
            put_off()
            continue
        size += len(told["text"])
        if size > MAX_TEXT:
            break
        yield Page(int(told["number"]), str(told["text"]), is_scan="scan" in told)
    raise Unreadable(_FAILED)


async def _line(stdout: asyncio.StreamReader) -> bytes:
    try:
        return await stdout.readline()
    except ValueError:
        raise Unreadable(_FAILED) from None


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
