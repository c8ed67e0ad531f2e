"""Forms with files (`multipart/form-data`): read within limits; written with nothing of the caller's in a header."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from backend.core.errors import InvalidRequest

MAX_PARTS = 32
MAX_FIELD_BYTES = 64 * 1024
"""Of a part that is not a file."""
_MAX_HEADERS, _MAX_HEADER_BYTES = 8, 4_096
_MAX_CONTENT_TYPE, _MAX_BOUNDARY = 1_000, 200
_MALFORMED = "the form cannot be read; send well-formed multipart/form-data"


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form, or one file."""

    name: str
    filename: str | None
    """As the caller wrote it, never to be repeated anywhere; None for a field."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """A written form."""

    data: bytes
    content_type: str


def read_form(content_type: str, body: bytes) -> list[Part]:
    """Return the parts of a form in order; raise `InvalidRequest` for what is none, is cut short or holds too much."""
    collector = _Collector()
    parser = _parser(content_type, collector)
    _feed(parser, body)
    _finish(parser, collector)
    return collector.parts


class FormReader:
    """Reads a form with one file, the field `file`, piece by piece; the file's bytes are handed on as they come."""

    def __init__(self, content_type: str) -> None:
        self._collector = _FileCollector()
        self._parser = _parser(content_type, self._collector)

    @property
    def filename(self) -> str | None:
        """What the caller calls the file, never to be repeated as it is; None as long as none has begun."""
        return self._collector.file

    @property
    def fields(self) -> dict[str, str]:
        """The other fields so far."""
        return {part.name: _text(part.data) for part in self._collector.parts if part.filename is None}

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the form; return what it holds of the file. Raises `InvalidRequest`."""
        _feed(self._parser, piece)
        return self._collector.taken()

    def finish(self) -> None:
        """Raise `InvalidRequest` unless all of the form was there."""
        _finish(self._parser, self._collector)


def _parser(content_type: str, collector: "_Collector") -> MultipartParser:
    kind, options = parse_options_header(content_type[:_MAX_CONTENT_TYPE])
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise InvalidRequest("send the request as multipart/form-data with a boundary")
    return MultipartParser(
        boundary,
        {
            "on_part_begin": collector.begin,
            "on_header_field": collector.header_name,
            "on_header_value": collector.header_value,
            "on_header_end": collector.end_header,
            "on_headers_finished": collector.end_headers,
            "on_part_data": collector.data,
            "on_part_end": collector.end,
            "on_end": collector.finish,
        },
        max_header_count=_MAX_HEADERS,
        max_header_size=_MAX_HEADER_BYTES,
    )


def _feed(parser: MultipartParser, data: bytes) -> None:
    try:
        parser.write(data)
    except FormParserError:
        raise InvalidRequest(_MALFORMED) from None


def _finish(parser: MultipartParser, collector: "_Collector") -> None:
    try:
        parser.finalize()
    except FormParserError:
        raise InvalidRequest(_MALFORMED) from None
    if not collector.is_complete:
        raise InvalidRequest("the form ends early; send all of it")


def write_form(fields: Iterable[tuple[str, str]], filename: str, media_type: str, data: bytes) -> Form:
    """Return a form of these fields and `data` as the field `file`; `filename` and `media_type` are our own words."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, value in fields:
        pieces.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode())
        pieces.append(value.encode("utf-8", "replace") + b"\r\n")
    disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    pieces.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n".encode())
    pieces += (data, f"\r\n--{boundary}--\r\n".encode())
    return Form(b"".join(pieces), f"multipart/form-data; boundary={boundary}")


class _Collector:
    """Puts together what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.is_complete = False
        self._count = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name = ""
        self._filename: str | None = None
        self._data = bytearray()

    def begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise InvalidRequest(f"a form may hold {MAX_PARTS} parts at most; send fewer")
        self._disposition = b""
        self._data = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def end_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _text(options.get(b"name", b""))
        filename = options.get(b"filename")
        self._filename = None if filename is None else _text(filename)

    def data(self, data: bytes, start: int, end: int) -> None:
        self._data += memoryview(data)[start:end]
        if self._filename is None and len(self._data) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"a field of a form may hold {MAX_FIELD_BYTES} bytes at most; send files with a name")

    def end(self) -> None:
        self.parts.append(Part(self._name, self._filename, bytes(self._data)))

    def finish(self) -> None:
        self.is_complete = True


class _FileCollector(_Collector):
    """Keeps no file."""

    def __init__(self) -> None:
        super().__init__()
        self.file: str | None = None
        self._taken = bytearray()

    def end_headers(self) -> None:
        super().end_headers()
        if self._filename is None:
            return
        if self._name != "file" or self.file is not None:
            raise InvalidRequest("send one file, as the field 'file' of the form")
        self.file = self._filename

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._filename is None:
            super().data(data, start, end)
        else:
            self._taken += memoryview(data)[start:end]

    def taken(self) -> bytes:
        """Return what came of the file since this was last asked."""
        taken, self._taken = bytes(self._taken), bytearray()
        return taken


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
