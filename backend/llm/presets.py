"""A model of ours in canonical form: a base model with a prompt, parameters and openers put before it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from backend.llm.names import ModelName
from backend.llm.types import Message, Sampling

KnowledgeMode = Literal["auto", "required", "off"]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """How a preset uses the documents it was given."""

    mode: KnowledgeMode = "auto"
    """`auto` answers without them when they cannot be searched, `required` does not answer then."""
    footer: bool = False
    """Whether the sources stand at the end of the answer's text, for clients that show nothing else."""
    max_tokens: int | None = None
    """Tokens of passages at most; None leaves it to the model's window."""


DEFAULT_KNOWLEDGE = Knowledge()


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
    knowledge: Knowledge | None = None
    """None where there are no documents to search."""
    learns: bool = False
    """Whether finished exchanges are kept for each user, and recalled for them."""
