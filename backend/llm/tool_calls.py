"""Tool calls: putting together what upstreams send in pieces, and pairing results with calls when clients lose the ids.

Many clients send a tool's result back without an id, some without a name either (`clients.md` section 6), while
upstreams insist on exact ids. The pairing here is a pure function of the conversation, so a stateless gateway gives
the same ids each time the history comes back.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.llm.errors import ProviderProtocolError
from backend.llm.types import Message, ToolCall

MintId = Callable[[str, int, int], str]
"""(original id or "", index of the message, index of the call) -> the id an upstream accepts."""


@dataclass(slots=True)
class _Pieces:
    call_id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    whole: Mapping[str, Any] | None = None


class ToolCallAssembler:
    """Collects the pieces of an answer's calls by index; the first non-empty id and name win.

    A missing index starts a new call when the piece has a new id and continues the last call when it has none.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Pieces] = {}
        self._last = -1

    def add(self, index: int | None, call_id: str | None, name: str | None, arguments: object) -> None:
        """Take one piece; `arguments` is a fragment of JSON text, a whole mapping, or None."""
        call_id = "" if call_id in (None, "null") else call_id
        if index is None:
            known = self._calls.get(self._last)
            is_new = known is None or (call_id and known.call_id and call_id != known.call_id)
            index = self._last + 1 if is_new else self._last
        self._last = index
        pieces = self._calls.setdefault(index, _Pieces())
        pieces.call_id = pieces.call_id or call_id or ""
        pieces.name = pieces.name or name or ""
        if isinstance(arguments, Mapping):
            pieces.whole = arguments
        elif isinstance(arguments, str):
            pieces.arguments.append(arguments)

    def flush(self) -> list[ToolCall]:
        """Return all calls, complete and in order, and forget them; raise if one has unreadable arguments."""
        calls = [
            ToolCall(p.call_id, p.name, p.whole if p.whole is not None else parse_arguments("".join(p.arguments)))
            for _, p in sorted(self._calls.items())
        ]
        self._calls.clear()
        self._last = -1
        return calls


def parse_arguments(text: str) -> Mapping[str, Any]:
    """Decode a call's arguments; "" means none, and a JSON string inside a string is opened once more."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text, strict=False)
        if isinstance(value, str):
            value = json.loads(value, strict=False) if value.strip() else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProviderProtocolError("the model wrote invalid tool call arguments; ask again")
    return value


def name_results(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield the turns; results of tools that came without a name get it from the call before them with their id."""
    names: dict[str, str] = {}
    for message in messages:
        names |= {call.call_id: call.name for call in message.tool_calls if call.call_id}
        is_nameless = message.role == "tool" and not message.tool_name
        name = names.get(message.tool_call_id) if is_nameless else None
        yield replace(message, tool_name=name) if name else message


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """An assistant turn with calls (ids minted) and the results that answer it (ids set, in the client's order)."""

    assistant: Message
    results: tuple[Message, ...]
    unanswered: tuple[ToolCall, ...]


def link_tool_results(messages: Sequence[Message], mint: MintId) -> Iterator[Message | ToolTurn]:
    """Walk the conversation, yielding plain messages as they are and tool turns paired up.

    The results of a turn are the `tool` messages up to the next assistant turn; each is matched by id, else by tool
    name, else by order. A result that matches nothing is yielded as a plain `tool` message without an id. Other
    messages that stood between results follow the turn.
    """
    position = 0
    while position < len(messages):
        message = messages[position]
        position += 1
        if not message.tool_calls:
            yield replace(message, tool_call_id="") if message.role == "tool" else message
            continue
        end = position
        while end < len(messages) and messages[end].role != "assistant":
            end += 1
        following = messages[position:end]
        turn, orphans = _pair(message, [m for m in following if m.role == "tool"], position - 1, mint)
        yield turn
        yield from orphans
        yield from (m for m in following if m.role != "tool")
        position = end


def _pair(assistant: Message, results: Sequence[Message], index: int, mint: MintId) -> tuple[ToolTurn, list[Message]]:
    calls = assistant.tool_calls
    taken = _match(calls, results)
    minted = _mint_ids(calls, index, mint)
    answered = {call for call in taken.values() if call is not None}
    linked = tuple(replace(r, tool_call_id=minted[c].call_id, tool_name=r.tool_name or minted[c].name)
                   for i, r in enumerate(results) if (c := taken[i]) is not None)  # fmt: skip
    turn = ToolTurn(
        replace(assistant, tool_calls=minted),
        linked,
        tuple(call for i, call in enumerate(minted) if i not in answered),
    )
    return turn, [replace(r, tool_call_id="") for i, r in enumerate(results) if taken[i] is None]


def _mint_ids(calls: Sequence[ToolCall], index: int, mint: MintId) -> tuple[ToolCall, ...]:
    minted: list[ToolCall] = []
    taken: set[str] = set()
    for i, call in enumerate(calls):
        call_id = mint(call.call_id, index, i)
        if call_id in taken:
            call_id = mint("", index, i)
        taken.add(call_id)
        minted.append(replace(call, call_id=call_id))
    return tuple(minted)


def _match(calls: Sequence[ToolCall], results: Sequence[Message]) -> dict[int, int | None]:
    taken: dict[int, int | None] = dict.fromkeys(range(len(results)))
    rules: tuple[Callable[[Message, ToolCall], bool], ...] = (
        lambda result, call: bool(result.tool_call_id) and result.tool_call_id == call.call_id,
        lambda result, call: bool(result.tool_name) and result.tool_name == call.name,
        lambda _result, _call: True,
    )
    for rule in rules:
        free = [c for c in range(len(calls)) if c not in taken.values()]
        for r, result in enumerate(results):
            if taken[r] is None:
                match = next((c for c in free if rule(result, calls[c])), None)
                if match is not None:
                    taken[r] = match
                    free.remove(match)
    return taken
