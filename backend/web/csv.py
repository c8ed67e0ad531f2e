"""Tables as CSV files, written as they are read; no cell becomes a formula in a spreadsheet."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_FORMULA = frozenset("=+-@\t\r\n")
"""What a cell begins with that spreadsheets calculate, or strip to get at such a beginning."""

Rows = AsyncIterator[Iterable[Sequence[object]]]


class CsvResponse(Response):
    """Sends a table as a file, some rows at a time; a table that cannot be read to its end breaks off.

    Args:
        heads: names of the columns.
        pieces: the rows.
        filename: what the file is called; letters, digits, `-` and `.` only.
    """

    media_type = "text/csv"

    def __init__(self, heads: Sequence[str], pieces: Rows, filename: str) -> None:
        super().__init__()
        self._heads = heads
        self._pieces = pieces
        self._filename = filename

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (nothing is read)
        """Write the table."""
        headers = [
            (b"content-type", b"text/csv; charset=utf-8"),
            (b"content-disposition", f'attachment; filename="{self._filename}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        body = write_rows([self._heads])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        async for rows in self._pieces:
            await send({"type": "http.response.body", "body": write_rows(rows), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def write_rows(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as RFC 4180 has them."""
    text = io.StringIO()
    csv.writer(text).writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    """Return what to write for a value; a text that would be a formula is led by an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value
