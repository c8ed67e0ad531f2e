"""Writes answers as OpenAI's Responses route does: events with a running number, or the whole response.

The names and their order are those of `ollama-wire.md` 10.3, keys in alphabetical order.

An answer is a list of items: reasoning, messages and function calls, in the order the model produced them. A stream
ends with `response.completed` or `response.incomplete`, never with `[DONE]`; one that fails says `response.failed` and
`error`, the form that OpenAI's SDK raises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from backend.core.errors import GatewayError
from backend.llm.events import ChatEvent, Finished, Started, TextDelta, ThinkingDelta
from backend.llm.grounding import write_grounding
from backend.llm.types import ToolCall
from backend.wire.jsontext import encode_json, quote
from backend.wire.openai.error_reply import write_error
from backend.wire.responses.inbound import Names
from backend.wire.responses.schemas import ResponsesBody

CONTENT_TYPE = "text/event-stream"

Status = Literal["in_progress", "completed", "incomplete", "failed"]
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What every object of one response repeats: what was asked for, and its ids and time."""

    body: ResponsesBody
    names: Names
    ident: str
    """Makes the ids of the response and its items; new for each response."""
    created_at: int
    """Seconds since 1970."""

    def item_id(self, kind: str, index: int) -> str:
        """Return the id of the item at `index`; `kind` is `msg`, `rs` or `fc`."""
        return f"{kind}_{self.ident}_{index}"

    def response(self, status: Status, output: Sequence[Item], done: Finished | None, error: str = "") -> Item:
        """Return the response object as it stands."""
        body = self.body
        is_short = status == "incomplete"
        return {
            "background": False,
            "created_at": self.created_at,
            "error": {"code": "server_error", "message": error} if error else None,
            "id": f"resp_{self.ident}",
            "incomplete_details": {"reason": "max_output_tokens"} if is_short else None,
            "instructions": body.instructions or None,
            "max_output_tokens": body.max_output_tokens,
            "metadata": {},
            "model": body.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort or None, "summary": None},
            "status": status,
            "store": False,
            "temperature": body.temperature,
            "text": {"format": body.text.format.model_dump(exclude_none=True, by_alias=True)},
            "tool_choice": self._choice(),
            "tools": [tool.model_dump(exclude_unset=True) for tool in body.tools],
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if done is None else _usage(done),
            **write_grounding(None if done is None else done.grounding),
        }

    def reasoning(self, index: int, text: str) -> Item:
        """Return a finished item of reasoning; `encrypted_content` is the text, because clients send only that back."""
        summary = [{"text": text, "type": "summary_text"}]
        return {
            "encrypted_content": text,
            "id": self.item_id("rs", index),
            "status": "completed",
            "summary": summary,
            "type": "reasoning",
        }

    def message(self, index: int, text: str, status: Status) -> Item:
        """Return a finished message."""
        return {
            "content": [_part(text)],
            "id": self.item_id("msg", index),
            "role": "assistant",
            "status": status,
            "type": "message",
        }

    def call(self, index: int, call: ToolCall, status: Status, arguments: str) -> Item:
        """Return a function call, with its namespace where the tool has one."""
        namespace, name = self.names.get(call.name, ("", call.name))
        return {
            "arguments": arguments,
            "call_id": call.call_id or f"call_{self.ident}_{index}",
            "id": self.item_id("fc", index),
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "status": status,
            "type": "function_call",
        }

    def _choice(self) -> Any:
        choice = self.body.tool_choice
        return choice.type if not choice.name else choice.model_dump(exclude_unset=True)


class EventEncoder:
    """Writes a streamed response; implements `backend.llm.ports.Encoder`."""

    content_type = CONTENT_TYPE

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._sequence = 0
        self._output: list[Item] = []
        self._texts: list[str] = []
        """The pieces of the item that is open."""
        self._open: type[TextDelta | ThinkingDelta] | None = None
        self._before = self._between = self._after = b""
        """What stands around the text and the number of a delta of the item that is open."""

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Return the events of the wire that these become."""
        if not self._sequence and type(events[-1]) is Started:
            return b""  # nothing to show yet: what fails now still gets its own status
        written: list[bytes] = [] if self._sequence else self._begin()
        for event in events:
            if type(event) is TextDelta or type(event) is ThinkingDelta:
                if self._open is not type(event):
                    self._close(written)
                    self._open_item(event, written)
                self._texts.append(event.text)
                number = b"%d" % self._sequence
                self._sequence += 1
                written.append(b"".join((self._before, quote(event.text), self._between, number, self._after)))
            else:
                self._other(event, written)
        return b"".join(written)

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the events that tell a client in mid-answer that it failed; the second one makes SDKs raise."""
        written: list[bytes] = [] if self._sequence else self._begin()
        failed = self._head.response("failed", self._output, None, error.message)
        written.append(self._event("response.failed", response=failed))
        # The same fields once more under `error`: OpenAI's SDK raises by that key alone.
        told = write_error(error).removeprefix(b"{").removesuffix(b"}")
        rest = encode_json(
            {"message": error.message, "param": None, "sequence_number": self._sequence, "type": "error"}
        )
        written.append(b'event: error\ndata: {"code":null,' + told + b"," + rest[1:] + b"\n\n")
        return b"".join(written)

    def _other(self, event: ChatEvent, written: list[bytes]) -> None:
        match event:
            case Started() | TextDelta() | ThinkingDelta():
                pass
            case ToolCall():
                self._close(written)
                self._write_call(event, written)
            case Finished():
                is_short = event.reason == "length"
                status: Status = "incomplete" if is_short else "completed"
                self._close(written, status)
                response = self._head.response(status, self._output, event)
                written.append(self._event(f"response.{status}", response=response))
            case _:
                assert_never(event)

    def _begin(self) -> list[bytes]:
        response = self._head.response("in_progress", (), None)
        return [self._event(f"response.{name}", response=response) for name in ("created", "in_progress")]

    def _open_item(self, event: TextDelta | ThinkingDelta, written: list[bytes]) -> None:
        index = len(self._output)
        self._open = type(event)
        if isinstance(event, ThinkingDelta):
            item: Item = {**self._head.reasoning(index, ""), "encrypted_content": "", "summary": []}
            place = {"item_id": item["id"], "output_index": index}
            name, key, tail = "response.reasoning_summary_text.delta", b"", b',"summary_index":0'
        else:
            item = {**self._head.message(index, "", "in_progress"), "content": []}
            place = {"item_id": item["id"], "logprobs": [], "output_index": index}
            name, key, tail = "response.output_text.delta", b'"content_index":0,', b""
        item["status"] = "in_progress"
        written.append(self._event("response.output_item.added", item=item, output_index=index))
        if self._open is TextDelta:
            written.append(self._part_event("added", item["id"], index, ""))
        self._before = b"event: " + name.encode() + b"\ndata: {" + key + b'"delta":'
        self._between = b"," + encode_json(place)[1:-1] + b',"sequence_number":'
        self._after = tail + b',"type":"' + name.encode() + b'"}\n\n'

    def _close(self, written: list[bytes], status: Status = "completed") -> None:
        """End the item that is open, if there is one."""
        if self._open is None:
            return
        index, text = len(self._output), "".join(self._texts)
        if self._open is ThinkingDelta:
            item = self._head.reasoning(index, text)
            place = {"item_id": item["id"], "output_index": index}
            written.append(self._event("response.reasoning_summary_text.done", **place, summary_index=0, text=text))
        else:
            item = self._head.message(index, text, status)
            place = {"content_index": 0, "item_id": item["id"], "logprobs": [], "output_index": index}
            written.append(self._event("response.output_text.done", **place, text=text))
            written.append(self._part_event("done", item["id"], index, text))
        written.append(self._event("response.output_item.done", item=item, output_index=index))
        self._output.append(item)
        self._texts.clear()
        self._open = None

    def _write_call(self, call: ToolCall, written: list[bytes]) -> None:
        index = len(self._output)
        arguments = _arguments(call)
        item = self._head.call(index, call, "completed", arguments)
        begun = {**item, "arguments": "", "status": "in_progress"}
        written.append(self._event("response.output_item.added", item=begun, output_index=index))
        name = "response.function_call_arguments"
        place = {"item_id": item["id"], "output_index": index}
        written.append(self._event(f"{name}.delta", delta=arguments, **place))
        named = {"item_id": item["id"], "name": item["name"], "output_index": index}
        written.append(self._event(f"{name}.done", arguments=arguments, **named))
        written.append(self._event("response.output_item.done", item=item, output_index=index))
        self._output.append(item)

    def _part_event(self, step: str, item_id: str, index: int, text: str) -> bytes:
        name = f"response.content_part.{step}"
        return self._event(name, content_index=0, item_id=item_id, output_index=index, part=_part(text))

    def _event(self, name: str, /, **fields: Any) -> bytes:
        data = dict(sorted({**fields, "sequence_number": self._sequence, "type": name}.items()))
        self._sequence += 1
        return b"event: " + name.encode() + b"\ndata: " + encode_json(data) + b"\n\n"


class ObjectEncoder:
    """Writes a whole response at the end: the items, collected; implements `backend.llm.ports.Encoder`."""

    content_type = CONTENT_TYPE

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._output: list[Item] = []
        self._texts: list[str] = []
        self._open: type[TextDelta | ThinkingDelta] | None = None

    def encode(self, events: Sequence[ChatEvent]) -> bytes:
        """Collect events; return the object once the answer is complete, nothing before."""
        written = b""
        for event in events:
            match event:
                case TextDelta() | ThinkingDelta():
                    if self._open is not type(event):
                        self._close()
                        self._open = type(event)
                    self._texts.append(event.text)
                case ToolCall():
                    self._close()
                    index = len(self._output)
                    self._output.append(self._head.call(index, event, "completed", _arguments(event)))
                case Finished():
                    status: Status = "incomplete" if event.reason == "length" else "completed"
                    self._close(status)
                    written = encode_json(self._head.response(status, self._output, event))
                case Started():
                    pass
                case _:
                    assert_never(event)
        return written

    def encode_error(self, error: GatewayError) -> bytes:
        """Return the error object; only reached when the status is already sent."""
        return write_error(error)

    def _close(self, status: Status = "completed") -> None:
        if self._open is None:
            return
        index, text = len(self._output), "".join(self._texts)
        is_text = self._open is TextDelta
        self._output.append(self._head.message(index, text, status) if is_text else self._head.reasoning(index, text))
        self._texts.clear()
        self._open = None


def _part(text: str) -> Item:
    return {"annotations": [], "logprobs": [], "text": text, "type": "output_text"}


def _arguments(call: ToolCall) -> str:
    return encode_json(dict(call.arguments)).decode()


def _usage(done: Finished) -> Item:
    """Return the counts; the details are there and zero, because clients' types want them."""
    read, written = max(done.usage.prompt_tokens or 1, 1), max(done.usage.completion_tokens or 1, 1)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
