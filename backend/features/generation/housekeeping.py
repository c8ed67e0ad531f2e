"""Tells the questions that a client asks for itself from those a person asks: titles, tags, follow-ups.

Clients send them with the credential and often the chat id of the conversation they are about. They belong neither into
a history nor into a search of knowledge.
"""

import re

from backend.llm.types import ChatRequest, CompletionRequest

_LOOK = 400
"""Characters at the beginning of a prompt that tell what it is."""

_TASKS = re.compile(
    r"\s*(?:"
    # Open WebUI's own templates; one that begins alike, for documents, asks for the answer itself.
    r"#{1,4} Task:\s*(?:generate a (?:concise|detailed prompt)|generate \d|suggest \d|"
    r"analyze the chat history to determine|you are an autocompletion system)"
    r"|your task is to reflect the speaker's likely facial expression"
    r"|your task is to choose and return the correct tool"
    # LibreChat, Continue, Cline and others that name conversations.
    r"|(?:please )?(?:provide|generate|create|write) an? (?:very )?(?:concise|short|brief)[^\n]{0,60} title for "
    r"(?:the|this|our|following) (?:following )?(?:conversation|chat)"
    r"|(?:given|based on) [^\n]{0,60}(?:conversation|chat)[^\n]{0,60}(?:reply with|generate|provide) an? "
    r"[^\n]{0,30}\btitle\b"
    r"|reply with (?:only )?a title for (?:the|this) (?:conversation|chat)"
    r")",
    re.IGNORECASE,
)
_TOOL_CHOICE = re.compile(r"\s*Available Tools:")
_ABOUT_A_CHAT = re.compile(r"\s*#{1,4} Task:")
_CHAT_INSIDE = "<chat_history>"


def is_housekeeping(request: ChatRequest | CompletionRequest) -> bool:
    """Whether a client asks this for itself: it is one question alone, in the words of a known template."""
    if isinstance(request, CompletionRequest):
        return False
    asked = [message for message in request.messages if message.role != "system"]
    if len(asked) > 1 or any(message.role != "user" for message in asked):
        return False
    return any(_is_task(message.text, system=message.role == "system") for message in request.messages)


def _is_task(text: str, *, system: bool) -> bool:
    head = text[:_LOOK]
    if _TASKS.match(head) or (system and _TOOL_CHOICE.match(head)):
        return True
    return not system and _ABOUT_A_CHAT.match(head) is not None and _CHAT_INSIDE in text
