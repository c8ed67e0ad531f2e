"""How each kind of upstream writes the same answers, so that one suite can hold all providers to one contract."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from backend.providers.http import Upstream
from backend.providers.mistral import MistralHabits, MistralProvider
from backend.providers.ollama import OllamaProvider
from backend.providers.openai_compatible import ModelFacts, OpenAICompatibleProvider
from backend.wire.openai.options import Dialect

Call = tuple[str, str, Mapping[str, Any]]
"""Id, name and arguments."""
Provider = MistralProvider | OpenAICompatibleProvider | OllamaProvider


class Wire(ABC):
    """One kind of upstream; every method returns what it sends for one piece of an answer."""

    name: str
    content_type: str
    chat_path: str

    @abstractmethod
    def provider(self, upstream: Upstream) -> Provider: ...

    @abstractmethod
    def text(self, text: str) -> bytes: ...

    @abstractmethod
    def thinking(self, text: str) -> bytes: ...

    @abstractmethod
    def calls(self, *calls: Call) -> bytes: ...

    @abstractmethod
    def end(self, reason: str = "stop", prompt: object = 7, completion: object = 2) -> bytes: ...

    @abstractmethod
    def failure(self, words: str) -> bytes: ...

    @abstractmethod
    def malformed(self) -> bytes: ...


class ChatCompletions(Wire):
    """Server-sent events with chunks."""

    content_type = "text/event-stream"
    chat_path = "/v1/chat/completions"

    def text(self, text: str) -> bytes:
        return self._delta({"content": text})

    def thinking(self, text: str) -> bytes:
        return self._delta({"reasoning_content": text})

    def calls(self, *calls: Call) -> bytes:
        return self._delta(
            {
                "tool_calls": [
                    {"index": i, "id": call_id, "function": {"name": name, "arguments": json.dumps(arguments)}}
                    for i, (call_id, name, arguments) in enumerate(calls)
                ]
            }
        )

    def end(self, reason: str = "stop", prompt: object = 7, completion: object = 2) -> bytes:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        return self._event({"choices": [choice], "usage": usage}) + b"data: [DONE]\n\n"

    def failure(self, words: str) -> bytes:
        return self._event({"error": {"message": words}})

    def malformed(self) -> bytes:
        return b'data: {"choices": [\n\n'

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    @staticmethod
    def _event(value: object) -> bytes:
        return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


class Mistral(ChatCompletions):
    """Mistral's platform: thinking comes in chunks of content."""

    name = "mistral"

    def provider(self, upstream: Upstream) -> MistralProvider:
        return MistralProvider(upstream, MistralHabits(), list_timeout=1)

    def thinking(self, text: str) -> bytes:
        return self._delta({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]})


class Compatible(ChatCompletions):
    """A server of one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.name = str(dialect)
        self.dialect = dialect

    def provider(self, upstream: Upstream) -> OpenAICompatibleProvider:
        return OpenAICompatibleProvider(upstream, self.dialect, ModelFacts(), list_timeout=1)


class Ollama(Wire):
    """JSON lines."""

    name = "ollama"
    content_type = "application/x-ndjson"
    chat_path = "/api/chat"

    def provider(self, upstream: Upstream) -> OllamaProvider:
        return OllamaProvider(upstream, list_timeout=1)

    def text(self, text: str) -> bytes:
        return self._message({"content": text})

    def thinking(self, text: str) -> bytes:
        return self._message({"content": "", "thinking": text})

    def calls(self, *calls: Call) -> bytes:
        written = [
            {"id": call_id, "function": {"index": i, "name": name, "arguments": arguments}}
            for i, (call_id, name, arguments) in enumerate(calls)
        ]
        return self._message({"content": "", "tool_calls": written})

    def end(self, reason: str = "stop", prompt: object = 7, completion: object = 2) -> bytes:
        counts = {"prompt_eval_count": prompt, "eval_count": completion}
        return self._line({"message": {"content": ""}, "done": True, "done_reason": reason, **counts})

    def failure(self, words: str) -> bytes:
        return self._line({"error": words})

    def malformed(self) -> bytes:
        return b'{"message": [\n'

    def _message(self, message: Mapping[str, Any]) -> bytes:
        return self._line({"message": {"role": "assistant", **message}, "done": False})

    @staticmethod
    def _line(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"


WIRES: Sequence[Wire] = (Mistral(), *(Compatible(dialect) for dialect in Dialect), Ollama())
