"""Cuts byte streams into lines and server-sent events, independent of how the network cut them.

Lines end with LF, a CR before it is dropped. Bytes are split, never text: `str.splitlines` also breaks at U+2028 and
friends, which are legal inside JSON.
"""

from backend.llm.errors import ProviderProtocolError


class LineSplitter:
    """Collects bytes and returns whole lines without their end.

    Raises `ProviderProtocolError` when one line grows over `max_line` bytes, so that memory is bounded.
    """

    __slots__ = ("_max_line", "_tail", "_tail_size")

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._tail: list[bytes] = []
        self._tail_size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now; the unfinished rest is kept."""
        head, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._hold(data)
            return []
        if self._tail:
            head = b"".join((*self._tail, head))
            self._tail.clear()
            self._tail_size = 0
        if rest:
            self._hold(rest)
        lines = head.split(b"\n")
        if b"\r" in head:
            lines = [line.removesuffix(b"\r") for line in lines]
        if len(head) > self._max_line and max(map(len, lines)) > self._max_line:
            raise self._too_long()
        return lines

    @property
    def is_empty(self) -> bool:
        """Whether no unfinished line is held."""
        return not self._tail

    def close(self) -> list[bytes]:
        """Return the unfinished last line, if any."""
        rest = b"".join(self._tail).removesuffix(b"\r")
        self._tail.clear()
        self._tail_size = 0
        return [rest] if rest else []

    def _hold(self, data: bytes) -> None:
        self._tail_size += len(data)
        if self._tail_size > self._max_line:
            raise self._too_long()
        self._tail.append(data)

    def _too_long(self) -> ProviderProtocolError:
        return ProviderProtocolError(f"the backend sent a line of more than {self._max_line} bytes")


class EventSplitter:
    """Returns the `data` of server-sent events; comments and other fields are passed over.

    Several `data:` lines of one event are joined with LF as the standard says; an event that the end of the stream cut
    off before its blank line still counts, because real servers leave it out. A byte order mark is skipped.
    """

    __slots__ = ("_data", "_lines", "_max_event", "_size", "_started")

    def __init__(self, max_event: int) -> None:
        self._lines = LineSplitter(max_event)
        self._max_event = max_event
        self._data: list[bytes] = []
        self._size = 0
        self._started = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads of the events that are complete now."""
        if data[:6] == b"data: " and data[-2:] == b"\n\n" and self._is_between_events():
            inside = data[6:-2]
            if b"\n" not in inside and len(inside) <= self._max_event:
                return [inside]  # one event per read is what a stream of tokens looks like
        return self._read(self._lines.feed(data))

    def close(self) -> list[bytes]:
        """Return the payload of an event that was not closed by a blank line."""
        events = self._read(self._lines.close())
        if self._data:
            events.append(self._take())
        return events

    def _is_between_events(self) -> bool:
        return self._started and not self._data and self._lines.is_empty

    def _read(self, lines: list[bytes]) -> list[bytes]:
        if not self._started and lines:
            self._started = True
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
                self._size += len(line)
                if self._size > self._max_event:
                    raise ProviderProtocolError(f"the backend sent an event of more than {self._max_event} bytes")
            elif not line and self._data:
                events.append(self._take())
        return events

    def _take(self) -> bytes:
        payload = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._size = 0
        return payload
