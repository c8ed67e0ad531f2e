"""Refuses what a model cannot do before anything is sent; what changes the meaning of an answer is never dropped.

The texts are Ollama's (`ollama-wire.md` 4.4); some clients match them.
"""

from backend.core.errors import InvalidRequest
from backend.features.catalog.service import CatalogModel
from backend.llm.capabilities import Capability
from backend.llm.types import ChatRequest


def require_thinking(model: CatalogModel, requested: str) -> None:
    """Raise unless the model can think."""
    if not model.can(Capability.THINKING):
        raise InvalidRequest(f'"{requested}" does not support thinking')


def require_chat(model: CatalogModel, requested: str, verb: str) -> None:
    """Raise unless the model can converse; `verb` is `chat` or `generate`."""
    if not (model.can(Capability.COMPLETION) or model.can(Capability.INSERT)):
        raise InvalidRequest(f'"{requested}" does not support {verb}')


def require_tools(model: CatalogModel) -> None:
    """Raise unless the model can call tools."""
    if not model.can(Capability.TOOLS):
        raise InvalidRequest(f"{model.name.full} does not support tools")


def require_insert(model: CatalogModel) -> None:
    """Raise unless the model can fill gaps."""
    if not model.can(Capability.INSERT):
        raise InvalidRequest(f"{model.name.full} does not support insert")


def require_vision(model: CatalogModel, request: ChatRequest) -> None:
    """Raise when images go to a model whose upstream says that it cannot see."""
    if model.info.is_listed and not model.can(Capability.VISION) and any(m.images for m in request.messages):
        raise InvalidRequest("this model does not support image input")


def require_audio(model: CatalogModel, requested: str) -> None:
    """Raise when speech goes to a model whose upstream says that it cannot hear."""
    if model.info.is_listed and not model.can(Capability.AUDIO):
        raise InvalidRequest(f'"{requested}" does not support audio')


def check_chat(model: CatalogModel, request: ChatRequest, requested: str) -> None:
    """Raise unless the model can do everything a conversation asks for; `requested` is the caller's name for it."""
    if request.thinking:
        require_thinking(model, requested)
    require_chat(model, requested, "chat")
    if request.tools:
        require_tools(model)
    require_vision(model, request)
