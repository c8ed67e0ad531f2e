"""What the scripted upstreams of the client tests offer and answer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.scripted_upstream import Reply, json_reply, ndjson_reply, sse_reply

GOLDEN = Path(__file__).parents[1] / "golden"
CHAT = "POST /v1/chat/completions"
FIM = "POST /v1/fim/completions"
EMBEDDINGS = "POST /v1/embeddings"
TRANSCRIPTIONS = "POST /v1/audio/transcriptions"
OLLAMA_CHAT = "POST /api/chat"

_NO_ABILITIES = dict.fromkeys(
    ("completion_chat", "function_calling", "reasoning", "completion_fim", "vision", "fine_tuning", "ocr"),
    False,
)


def golden(name: str) -> bytes:
    """Return one recorded body, for example `mistral/text.sse`."""
    return (GOLDEN / name).read_bytes()


def golden_text(name: str, kind: str = "text") -> str:
    """Return the whole text (or thinking) that a recorded stream decodes to."""
    events = json.loads((GOLDEN / name).with_suffix(".events.json").read_text(encoding="utf-8"))
    return "".join(event["text"] for event in events if event["type"] == kind)


def _card(ident: str, name: str, context: int, *abilities: str, aliases: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "id": ident,
        "object": "model",
        "created": 1795168800,
        "owned_by": "mistralai",
        "capabilities": {**_NO_ABILITIES, **dict.fromkeys(abilities, True)},
        "name": name,
        "description": f"Official {name} model",
        "max_context_length": context,
        "aliases": list(aliases),
        "deprecation": None,
        "default_model_temperature": 0.3,
        "type": "base",
    }


def mistral_models() -> Reply:
    """List a reasoning model with an alias, a plain one, a fill-in-the-middle, an embedding and a speech one."""
    small = ("completion_chat", "function_calling", "reasoning", "vision")
    code = ("completion_chat", "function_calling", "completion_fim")
    return json_reply(
        {
            "object": "list",
            "data": [
                _card(
                    "mistral-small-2603",
                    "mistral-small-2603",
                    262144,
                    *small,
                    aliases=["mistral-small-latest"],
                ),
                _card(
                    "mistral-small-latest",
                    "mistral-small-2603",
                    262144,
                    *small,
                    aliases=["mistral-small-2603"],
                ),
                _card("ministral-3b-2512", "ministral-3b-2512", 131072, "completion_chat"),
                _card("codestral-2508", "codestral-2508", 131072, *code),
                _card("mistral-embed", "mistral-embed", 8192),
                _card("voxtral-mini-latest", "voxtral-mini-2602", 32768, "audio_transcription"),
            ],
        }
    )


def vllm_models() -> Reply:
    """List the one model a vLLM server serves."""
    card = {
        "id": "qwen3",
        "object": "model",
        "created": 1795168800,
        "owned_by": "vllm",
        "root": "Qwen/Qwen3-8B",
    }
    return json_reply({"object": "list", "data": [{**card, "parent": None, "max_model_len": 32768}]})


def ollama_tags() -> Reply:
    """List the one model a real Ollama server holds."""
    details = {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1.2B",
        "quantization_level": "Q8_0",
    }
    model = {
        "name": "llama3.2:1b",
        "model": "llama3.2:1b",
        "modified_at": "2026-08-01T12:00:00.5+02:00",
        "size": 1321098329,
        "digest": "baf6a787fdffd633537aa2eb51cfd54cb93ff08e28040095462bb63daf552878",
        "details": details,
    }
    return json_reply({"models": [model]})


def ollama_show() -> Reply:
    """Describe the model of `ollama_tags`."""
    return json_reply(
        {
            "modelfile": "FROM llama3.2:1b\n",
            "template": "{{ .Prompt }}{{ .Tools }}",
            "details": {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]},
            "model_info": {"general.architecture": "llama", "llama.context_length": 131072},
            "capabilities": ["completion", "tools"],
            "modified_at": "2026-08-01T12:00:00.5+02:00",
        }
    )


def tool_call(ident: str, name: str, /, **arguments: Any) -> dict[str, Any]:
    """Build one complete tool call as Mistral and vLLM send it."""
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def thinking_chunk(text: str) -> dict[str, Any]:
    """Build one of Mistral's thinking chunks."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _completion(deltas: Sequence[Mapping[str, Any]], message: Mapping[str, Any], finish: str) -> Reply:
    head = {"id": "3f0b1c5d7e9a4b2c8d6f0a1b2c3d4e5f", "created": 1795168800, "model": "upstream-name"}

    def chunk(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event({**head, "object": "chat.completion.chunk", "choices": [choice], **more})

    first = chunk({"role": "assistant", "content": ""})
    last = chunk({"content": ""}, finish, usage=_usage(9, 5))
    stream = first + b"".join(map(chunk, deltas)) + last + b"data: [DONE]\n\n"
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    unary = {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(9, 5)}
    return sse_reply(stream, unary=json.dumps(unary).encode())


def answer(*texts: str, finish: str = "stop") -> Reply:
    """Answer a chat with text, in as many deltas as there are texts."""
    return _completion([{"content": text} for text in texts], {"content": "".join(texts)}, finish)


def thinking_answer(thought: str, text: str) -> Reply:
    """Answer as one of Mistral's reasoning models: thinking first, then text."""
    closed = {"type": "thinking", "thinking": [], "closed": True}
    deltas: list[dict[str, Any]] = [
        {"content": [thinking_chunk(thought)]},
        {"content": [closed]},
        {"content": text},
    ]
    return _completion(deltas, {"content": [thinking_chunk(thought), {"type": "text", "text": text}]}, "stop")


def reasoning_answer(thought: str, text: str) -> Reply:
    """Answer as vLLM does with a reasoning parser."""
    deltas = [{"reasoning": thought}, {"content": text}]
    return _completion(deltas, {"reasoning": thought, "content": text}, "stop")


def calling_answer(*calls: Mapping[str, Any]) -> Reply:
    """Answer with complete tool calls in one chunk."""
    numbered = [{**call, "index": index} for index, call in enumerate(calls)]
    return _completion([{"content": "", "tool_calls": numbered}], {"content": "", "tool_calls": numbered}, "tool_calls")


def embeddings(*vectors: Sequence[float]) -> Reply:
    """Answer with vectors, listed in reverse so that only `index` tells their order."""
    data = [{"object": "embedding", "embedding": v, "index": i} for i, v in enumerate(vectors)]
    usage = {"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}
    return json_reply({"id": "0718", "object": "list", "data": data[::-1], "model": "mistral-embed", "usage": usage})


def transcription(text: str, *segments: tuple[float, float, str], language: str | None = "fr") -> Reply:
    """Answer with what was said, as Mistral does."""
    parts = [{"type": "transcription_segment", "text": t, "start": a, "end": b} for a, b, t in segments]
    usage = {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 385, "prompt_audio_seconds": 12}
    reply = {"model": "voxtral-mini-2602", "text": text, "language": language, "segments": parts, "usage": usage}
    return json_reply(reply)


def ollama_answer(stream: str) -> Reply:
    """Answer with a recorded Ollama stream, or with its collected form when no stream was asked for."""
    body = golden(f"ollama/{stream}.ndjson")
    lines = [json.loads(line) for line in body.splitlines()]
    whole = dict(lines[-1])
    if "message" in whole:
        text = "".join(line["message"]["content"] for line in lines)
        calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
        whole["message"] = {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
    else:
        whole["response"] = "".join(line["response"] for line in lines)
    return ndjson_reply(body, unary=json.dumps(whole, separators=(",", ":")).encode())


def mistral_error(name: str, **headers: str) -> Reply:
    """Answer with a recorded Mistral error, for example `429-rate-limited.json`."""
    kind = "text/html" if name.endswith(".html") else "application/json"
    return Reply(int(name[:3]), {"content-type": kind, **headers}, golden(f"mistral/errors/{name}"))
