"""Models of ours in Ollama's listings: what is known of the base, under our name."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backend.core.clock import rfc3339
from backend.llm.capabilities import ModelInfo
from backend.llm.presets import Preset
from backend.wire.jsontext import encode_json
from backend.wire.ollama import replies
from backend.wire.ollama.modelfile import write_modelfile, write_parameters


def preset_digest(preset: Preset, info: ModelInfo) -> str:
    """Return 64 hex digits that change whenever the model of ours or its base does."""
    base = info.native.get("digest") or replies.digest(preset.base, info)
    facts = [preset.preset_id, preset.name.key, str(base), rfc3339(preset.modified_at)]
    return hashlib.sha256(encode_json(facts)).hexdigest()


def preset_tags_entry(preset: Preset, info: ModelInfo) -> dict[str, Any]:
    """Return one entry of `/api/tags`."""
    entry = replies.tags_entry(preset.base, info)
    return {
        **entry,
        "name": preset.name.short,
        "model": preset.name.short,
        "modified_at": rfc3339(preset.modified_at),
        "digest": preset_digest(preset, info),
        "details": _details(preset, entry.get("details")),
    }


def preset_running_entry(preset: Preset, info: ModelInfo, expires_at: datetime) -> dict[str, Any]:
    """Return one entry of `/api/ps`."""
    return {
        **replies.running_entry(preset.name, info, expires_at),
        "digest": preset_digest(preset, info),
    }


def preset_show_reply(preset: Preset, base: Mapping[str, Any]) -> dict[str, Any]:
    """Return `/api/show`; `base` is the reply for the model it is made from, whose abilities it has.

    Nothing of the base's own prompt, openers and parameters is passed on.
    """
    reply = {key: base[key] for key in ("license", "template") if key in base}
    reply |= {"modelfile": write_modelfile(preset)}
    if parameters := write_parameters(preset):
        reply["parameters"] = parameters
    reply["system"] = preset.system_prompt if preset.shows_prompt else ""
    reply["details"] = _details(preset, base.get("details"))
    if preset.messages:
        reply["messages"] = [{"role": turn.role, "content": turn.text} for turn in preset.messages]
    kept = ("model_info", "projector_info", "tensors", "capabilities", "requires")
    reply |= {key: base[key] for key in kept if key in base}
    return {**reply, "modified_at": rfc3339(preset.modified_at)}


def _details(preset: Preset, base: Any) -> dict[str, Any]:
    return {**(base if isinstance(base, Mapping) else {}), "parent_model": preset.base.short}
