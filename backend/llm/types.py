"""Requests in canonical form: what the caller asked for, in no vendor's words.

`None` (or an empty tuple) always means "the caller said nothing", so that a provider's own default stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Thinking = bool | Literal["low", "medium", "high", "max"]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A run of text inside a message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image inside a message, never a link: nothing is fetched on a caller's word."""

    data: str
    """Standard base64 with padding, without a `data:` prefix or line breaks."""
    media_type: str
    """For example `image/png`, found from the bytes, never from what the caller said."""


ContentPart = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One complete call the model made; both an event of an answer and part of an assistant's turn."""

    call_id: str
    """The id the upstream gave, or "" when neither upstream nor client had one."""
    name: str
    arguments: Mapping[str, Any]
    """Decoded arguments in the order the model wrote them."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation."""

    role: Role
    content: tuple[ContentPart, ...] = ()
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """On a `tool` turn: the id of the call it answers; clients often drop it."""
    tool_name: str = ""
    """On a `tool` turn: the name of the tool that answers; clients often drop it."""

    @property
    def text(self) -> str:
        """All text of the turn: parts are paragraphs, except a model's own, which are pieces of one text."""
        between = "" if self.role == "assistant" else "\n"
        return between.join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """All images of the turn, in order."""
        return tuple(part for part in self.content if isinstance(part, ImagePart))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function the model may call; `parameters` is the caller's JSON schema, untouched."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may, must or must not call a tool."""

    mode: Literal["auto", "none", "required"]
    name: str = ""
    """With `required`: the one tool that must be called, or "" for any."""


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer must be JSON; with a schema, JSON that matches it."""

    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen; only what the caller (or an agent) set."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: int | None = None
    """Negative means "any seed", as in Ollama."""
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    """Tokens to produce at most; always positive here."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Options only some servers know (`num_ctx`, `mirostat`, ...), under Ollama's names, already type-checked."""


@dataclass(frozen=True, slots=True)
class WireSource:
    """The request as its own wire format has it, kept so that an equal upstream can be sent the same."""

    wire: Literal["ollama"]
    path: str
    body: Mapping[str, Any]
    """Known fields only, checked; whatever the caller added beyond them is gone."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to be continued."""

    model: str
    """The upstream's id of the model once routed; before that, the name the caller sent."""
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    sampling: Sampling = Sampling()
    response_format: JsonFormat | None = None
    thinking: Thinking | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    stream: bool = True
    keep_alive: float | None = None
    """Seconds the model should stay loaded; negative means for ever."""
    source: WireSource | None = None
    """Set while nothing was added to the caller's request; whoever changes the request must drop it."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Text to be continued without a chat template, or, with a suffix, a gap to be filled."""

    model: str
    prompt: str
    suffix: str | None = None
    sampling: Sampling = Sampling()
    stream: bool = True
    source: WireSource | None = None


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to be turned into vectors."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    truncate: bool = True
    source: WireSource | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector per input, in the order of the inputs."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """Speech to be written down."""

    model: str
    audio: bytes
    filename: str
    """For example `audio.mp3`: upstreams go by its ending; made by us, never the caller's."""
    media_type: str
    """For example `audio/mpeg`; made by us as well."""
    language: str = ""
    """Of the speech, for example `en`; "" when the caller does not say."""
    prompt: str = ""
    """Words that may occur; a hint."""
    temperature: float | None = None
    with_segments: bool = False
    """Whether the caller wants to know when each part was said."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a transcription and when it was said, in seconds from the start."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said; what the upstream did not tell is empty or None."""

    text: str
    language: str = ""
    seconds: float | None = None
    segments: tuple[Segment, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
