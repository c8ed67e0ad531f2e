"""Facts about model families, for servers whose model lists say nothing but the id.

The first entry whose pattern is found in the lower-cased id counts; an operator's own settings count before all.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from backend.llm.capabilities import Capability
from backend.wire.openai.reasoning import ReasoningStyle
from backend.wire.openai.request import FimTemplate

_STAR_FIM = FimTemplate("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
_QWEN_FIM = FimTemplate("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_LLAMA_FIM = FimTemplate("<PRE> ", " <SUF>", " <MID>")
_DEEPSEEK_FIM = FimTemplate("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")  # noqa: RUF001 (the model's own marks)
_MISTRAL_FIM = FimTemplate("[PREFIX]", "[SUFFIX]", "", suffix_first=True)

_TOOLS = frozenset({Capability.COMPLETION, Capability.TOOLS})
_SEES = _TOOLS | {Capability.VISION}
_THINKS = _TOOLS | {Capability.THINKING}
_FILLS = _TOOLS | {Capability.INSERT}
_HEARS = frozenset({Capability.AUDIO})
_EMBEDS = frozenset({Capability.EMBEDDING})


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known about one family."""

    pattern: re.Pattern[str]
    family: str
    capabilities: AbstractSet[Capability] = _TOOLS
    reasoning: ReasoningStyle = ReasoningStyle.NONE
    fim: FimTemplate | None = None


def _profile(
    pattern: str,
    family: str,
    capabilities: AbstractSet[Capability] = _TOOLS,
    reasoning: ReasoningStyle = ReasoningStyle.NONE,
    fim: FimTemplate | None = None,
) -> Profile:
    return Profile(re.compile(pattern), family, capabilities, reasoning, fim)


_BY_TEMPLATE, _BY_EFFORT, _AS_MISTRAL = ReasoningStyle.TEMPLATE, ReasoningStyle.EFFORT, ReasoningStyle.MISTRAL

PROFILES: tuple[Profile, ...] = (
    _profile(r"embed|(^|[/-])(bge|gte|e5|minilm|jina-emb)", "bert", _EMBEDS),
    _profile(r"whisper|transcribe", "whisper", _HEARS),
    _profile(r"voxtral", "mistral", _TOOLS | _HEARS),
    _profile(r"codestral", "mistral", _FILLS, fim=_MISTRAL_FIM),
    _profile(r"magistral|mistral-small-(26|4)|mistral-medium-(26|3[.-]5)", "mistral", _THINKS | _SEES, _AS_MISTRAL),
    _profile(r"pixtral|mistral-small-3\.[12]|mistral-small-250[36]|mistral-large-3|ministral-3", "mistral", _SEES),
    _profile(r"mi[sx]tral|devstral", "mistral"),
    _profile(r"gpt-oss", "gptoss", _THINKS, _BY_EFFORT),
    _profile(r"^(o[134](-|$)|gpt-5)", "gpt", _SEES | _THINKS, _BY_EFFORT),
    _profile(r"^gpt-4", "gpt", _SEES),
    _profile(r"qwen.*coder", "qwen", _FILLS, fim=_QWEN_FIM),
    _profile(r"qwen.*vl|qwen3\.5", "qwen", _SEES | _THINKS, _BY_TEMPLATE),
    _profile(r"qwen3|qwq", "qwen3", _THINKS, _BY_TEMPLATE),
    _profile(r"qwen", "qwen2"),
    _profile(r"deepseek-coder", "deepseek2", _FILLS, fim=_DEEPSEEK_FIM),
    _profile(r"deepseek-(r1|v3\.[1-9]|v4)", "deepseek", _THINKS, _BY_TEMPLATE),
    _profile(r"deepseek", "deepseek"),
    _profile(r"glm-?(4\.[5-9]|5)", "glm", _THINKS, _BY_TEMPLATE),
    _profile(r"starcoder|santacoder|granite.*code", "starcoder", _FILLS, fim=_STAR_FIM),
    _profile(r"codellama|code-llama", "llama", _FILLS, fim=_LLAMA_FIM),
    _profile(r"llava|llama-3\.2-\d+b-vision|llama-4", "llama", _SEES),
    _profile(r"llama", "llama"),
    _profile(r"gemma-?[34]", "gemma3", _SEES),
    _profile(r"gemma", "gemma"),
    _profile(r"phi", "phi"),
)
_UNKNOWN = Profile(re.compile(""), "unknown")

_SIZE = re.compile(r"(?:^|[-_:/])((?:\d+x)?\d+(?:\.\d+)?)b(?=$|[-_:/.])")
_QUANTIZATION = re.compile(r"(awq|gptq|fp8|nvfp4|mxfp4|int[48]|q\d(?:_[0-9a-z]+)*)(?=$|[-_:/.])")


def find_profile(model_id: str) -> Profile:
    """Return what is known about the family of a model."""
    lowered = model_id.lower()
    return next((profile for profile in PROFILES if profile.pattern.search(lowered)), _UNKNOWN)


def parameter_size(model_id: str) -> str:
    """Return the size an id tells, for example `8B` or `8x7B`, or ""."""
    match = _SIZE.search(model_id.lower())
    return f"{match[1]}B" if match else ""


def quantization(model_id: str) -> str:
    """Return the quantization an id tells, for example `AWQ`, or ""."""
    match = _QUANTIZATION.search(model_id.lower())
    return match[1].upper() if match else ""
