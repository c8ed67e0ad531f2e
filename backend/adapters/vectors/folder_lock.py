"""One process alone writes in a folder: two on one Chroma directory lose vectors without a word."""

import fcntl
import os
from pathlib import Path

from backend.core.errors import ConfigurationError


class FolderLock:
    """Holds a folder for this process; the system lets go when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    @property
    def descriptor(self) -> int | None:
        """The open file, for a child that shall hold the folder too."""
        return self._file

    def acquire(self) -> None:
        """Take the folder; raise `ConfigurationError` when another process has it."""
        if self._file is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise ConfigurationError(
                f"another process keeps the index of vectors in {self._folder}: stop it, or give each its own "
                "GATEWAY_DATA_DIR, a Chroma server at CHROMA_URL, or GATEWAY_KNOWLEDGE__INDEX=exact"
            ) from None
        self._file = file

    def release(self) -> None:
        """Let go of the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def check_folder(folder: Path) -> None:
    """Raise `ConfigurationError` when another process has the folder now."""
    if (folder / "lock").exists():
        lock = FolderLock(folder)
        lock.acquire()
        lock.release()
