"""A model of ours in canonical form: a base model with a prompt, parameters and openers put before it."""

from dataclasses import dataclass, field
from datetime import datetime

from backend.llm.names import ModelName
from backend.llm.types import Message, Sampling


@dataclass(frozen=True, slots=True)
class Preset:
    """What a name of ours stands for; what it holds never changes, a change makes a new one."""

    preset_id: str
    name: ModelName
    """Its namespace is the trigramme of whoever owns it."""
    base: ModelName
    """The model it is made from, always one of a backend and never another preset."""
    modified_at: datetime
    system_prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    messages: tuple[Message, ...] = ()
    """Openers: turns that stand before every conversation."""
    description: str = ""
    shows_prompt: bool = False
    """Whether whoever was given this object may read the prompt; using it needs no such right."""
