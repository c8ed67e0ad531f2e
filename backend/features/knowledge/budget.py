"""How much of a model's window documents may take; never more than there is.

Model servers do not say when a prompt is too long: they drop its oldest turns, or fail. So it is counted here, with
three bytes of UTF-8 to a token: three letters of French or English, which is less than they need, and one of Chinese.
"""

from dataclasses import dataclass, replace

from backend.features.generation.estimate import prompt_characters
from backend.llm.capabilities import ModelInfo
from backend.llm.types import ChatRequest

DEFAULT_WINDOW = 4_096
"""What an Ollama machine gives a model that nobody has set, at least."""
_WIDEST_UNASKED = 8_192
"""How far such a model's window is widened for documents: every token of it takes memory there."""
_ANSWER, _MARGIN = 1_024, 10
_PER_TURN, _PER_IMAGE = 8, 1_000
_STEP = 1_024
BYTES = 3
"""Of a token, at least."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens of one request."""

    window: int
    rest: int
    """What is left beside the conversation, the answer and a margin; may be under nothing."""
    is_adjustable: bool
    """Whether the window may be asked for: an Ollama machine's, where neither caller nor agent has set it."""

    @property
    def whole(self) -> int:
        """Room for whole documents."""
        return max(min(self.window * 2 // 5, self.rest), 0)

    def passages(self, most: int | None, taken: int = 0) -> int:
        """Return the room for passages: half of what is left, or less where the agent says so."""
        room = max((self.rest - taken) // 2, 0)
        return room if most is None else min(room, most)


def size(text: str) -> int:
    """Return the bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def count(text: str) -> int:
    """Return the tokens of a text, rather too many than too few."""
    return -(-size(text) // BYTES)


def plan(request: ChatRequest, info: ModelInfo, *, is_ollama: bool, rules: int = 0) -> Budget:
    """Return the room there is in a request.

    Args:
        request: with a preset applied.
        info: of the model.
        is_ollama: whether an Ollama machine runs it: that drops old turns by itself, but keeps system and last turn.
        rules: tokens of what is put before it in any case.
    """
    told = _told_window(request)
    if told is None and is_ollama:
        window = min(info.context_length or DEFAULT_WINDOW, _WIDEST_UNASKED)
    else:
        window = told or info.context_length or DEFAULT_WINDOW
    kept = _unavoidable(request) if is_ollama else request
    rest = window - reserve(request, window) - prompt_tokens(kept) - rules
    return Budget(window, rest, told is None and is_ollama)


def reserve(request: ChatRequest, window: int) -> int:
    """Return what the answer may need, and a margin."""
    return (request.sampling.max_tokens or _ANSWER) + window // _MARGIN


def prompt_tokens(request: ChatRequest) -> int:
    """Return the tokens of a whole conversation, its tools and images."""
    images = sum(len(message.images) for message in request.messages)
    # What is called and offered is written by programs, in characters of one byte.
    beyond = sum(size(said) - len(said) for message in request.messages for said in (message.text, message.thinking))
    written = prompt_characters(request) + beyond
    return -(-written // BYTES) + _PER_TURN * len(request.messages) + _PER_IMAGE * images


def widen(request: ChatRequest, budget: Budget) -> ChatRequest:
    """Return the request with the window it needs, where that is more than an Ollama machine gives unasked."""
    needed = prompt_tokens(request) + reserve(request, budget.window)
    if not budget.is_adjustable or needed <= DEFAULT_WINDOW:
        return request
    window = min(-(-needed // _STEP) * _STEP, budget.window)
    extras = {**request.sampling.extras, "num_ctx": window}
    return replace(request, sampling=replace(request.sampling, extras=extras))


def _told_window(request: ChatRequest) -> int | None:
    told = request.sampling.extras.get("num_ctx")
    return told if isinstance(told, int) and told > 0 else None


def _unavoidable(request: ChatRequest) -> ChatRequest:
    """Return what an Ollama machine never drops."""
    last = len(request.messages) - 1
    kept = (turn for at, turn in enumerate(request.messages) if turn.role == "system" or at == last)
    return replace(request, messages=tuple(kept))
