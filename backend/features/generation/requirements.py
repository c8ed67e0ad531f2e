"""Refuses what a model cannot do before anything is sent; what changes the meaning of an answer is never dropped.

The texts are Ollama's (`ollama-wire.md` 4.4); some clients match them.
"""

from typing import Literal

from backend.core.errors import InvalidRequest
from backend.features.catalog.service import CatalogModel
from backend.llm.capabilities import Capability
from backend.llm.types import ChatRequest, CompletionRequest

Verb = Literal["chat", "generate"]
"""What a model without conversation is said not to support."""


def check_request(model: CatalogModel, request: ChatRequest | CompletionRequest, verb: Verb) -> None:
    """Raise unless the model can do all that a request asks for; an Ollama machine judges its models itself."""
    if model.serves_itself:
        return
    if isinstance(request, CompletionRequest):
        require_abilities(model, request.model, verb, fills=request.suffix is not None)
        return
    require_abilities(model, request.model, verb, thinks=bool(request.thinking), calls_tools=bool(request.tools))


def require_abilities(
    model: CatalogModel,
    requested: str,
    verb: Verb,
    *,
    thinks: bool = False,
    calls_tools: bool = False,
    fills: bool = False,
) -> None:
    """Raise unless the model can converse and do what else is asked, in Ollama's order.

    `requested` is the caller's own spelling of the model's name.
    """
    if thinks and not model.can(Capability.THINKING):
        raise InvalidRequest(f'"{requested}" does not support thinking')
    if not (model.can(Capability.COMPLETION) or model.can(Capability.INSERT)):
        raise InvalidRequest(f'"{requested}" does not support {verb}')
    if calls_tools and not model.can(Capability.TOOLS):
        raise InvalidRequest(f"{model.name.full} does not support tools")
    if fills and not model.can(Capability.INSERT):
        raise InvalidRequest(f"{model.name.full} does not support insert")


def require_vision(model: CatalogModel, request: ChatRequest) -> None:
    """Raise when images go to a model whose upstream says that it cannot see."""
    if model.info.is_listed and not model.can(Capability.VISION) and any(m.images for m in request.messages):
        raise InvalidRequest("this model does not support image input")
