"""Checks Office files before anything unpacks them: they are zip archives, and may be bombs (`rag.md` 2.2)."""

import io
import zipfile

from backend.extraction.pages import Unreadable

_MAX_ENTRIES = 10_000
_MAX_SIZE = 200 * 2**20
_MAX_RATIO = 100
_SMALL = 2**20
"""Unpacked size up to which any ratio is fine: small XML packs very well."""
_TAIL = 80 * 1024
"""Bytes at the end of an archive among which it says where its directory lies."""
_MAX_DIRECTORY = 2 * 2**20
_ENDS = ((b"PK\x05\x06", 12, 4), (b"PK\x06\x06", 40, 8))
"""What such a record begins with, and where in it the directory's size stands in how many bytes."""
_TOO_MUCH = "this file unpacks to more than can be read; split it, or save it again without embedded objects"


def check_directory(data: bytes) -> None:
    """Raise `Unreadable` for an archive whose list of files alone is more than anybody should read."""
    tail = data[-_TAIL:]
    for mark, offset, width in _ENDS:
        at = tail.find(mark)
        while at >= 0:
            if int.from_bytes(tail[at + offset : at + offset + width], "little") > _MAX_DIRECTORY:
                raise Unreadable(_TOO_MUCH)
            at = tail.find(mark, at + 1)


def check_archive(data: bytes) -> None:
    """Raise `Unreadable` for an archive that is damaged, encrypted, or out of all proportion when unpacked.

    Archives in it count with their size and are never unpacked: nobody who reads a document looks into them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise Unreadable("this file is damaged; open it, save it again and upload it anew") from None
    if len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > _MAX_SIZE:
        raise Unreadable(_TOO_MUCH)
    for entry in entries:
        if entry.flag_bits & 1:
            raise Unreadable("this file is protected by a password; remove it and upload the file again")
        if entry.file_size > _SMALL and entry.file_size > _MAX_RATIO * max(entry.compress_size, 1):
            raise Unreadable(_TOO_MUCH)
