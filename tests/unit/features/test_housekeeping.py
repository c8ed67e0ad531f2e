"""What a client asks for itself is told from what a person asks."""

import pytest

from backend.features.generation.housekeeping import is_housekeeping
from backend.llm.types import ChatRequest, CompletionRequest, Message, TextPart

OURS = [
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Guidelines:\n",
    "### Task:\nGenerate a concise title summarizing the chat history.\n",
    "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history, along with",
    "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user might naturally ask next",
    "### Task:\nAnalyze the chat history to determine the necessity of generating search queries, in the given",
    "### Task:\nYou are an autocompletion system. Continue the text in `<text>` based on the",
    "### Task:\nGenerate a detailed prompt for am image generation task based on the given language",
    "### Task:\nNommez cette conversation.\n<chat_history>\nUSER: bonjour\n</chat_history>",
    "Your task is to reflect the speaker's likely facial expression through a fitting emoji.",
    "Provide a concise, 5-word-or-less title for the conversation, using title case conventions.",
    "Given the following conversation, please reply with a title for the chat that is 3-4 words in length",
]
THEIRS = [
    "### Task:\nRespond to the user query using the provided context, incorporating inline citations",
    "### Task:\nWrite a poem.",
    "Generate a concise summary of this text: it is about titles for books",
    "Give me a title for my novel",
    "Write a short title for my blog post about trains",
    "Given this abstract, generate a title for the paper",
    "You have been provided with a set of responses from various models to the latest user query",
    "",
]
"""The first is Open WebUI's, put around a question about documents."""


def asking(text: str, *before: Message) -> ChatRequest:
    return ChatRequest("m", (*before, Message("user", (TextPart(text),))))


@pytest.mark.parametrize("text", OURS)
def test_templates_of_clients_are_housekeeping(text: str) -> None:
    assert is_housekeeping(asking(text))
    assert is_housekeeping(asking(text, Message("system", (TextPart("You are kind."),))))


@pytest.mark.parametrize("text", THEIRS)
def test_questions_of_people_are_not(text: str) -> None:
    assert not is_housekeeping(asking(text))


def test_a_choice_of_tools_is_told_by_its_system_turn() -> None:
    system = Message("system", (TextPart("Available Tools: [...]\n\nYour task is to choose and return"),))
    assert is_housekeeping(asking("Query: History:\nUSER: hi", system))
    assert not is_housekeeping(asking("Available Tools: none?"))


def test_a_conversation_is_none_whatever_it_says() -> None:
    before = (Message("user", (TextPart("hi"),)), Message("assistant", (TextPart("hello"),)))
    assert not is_housekeeping(asking(OURS[0], *before))
    assert not is_housekeeping(CompletionRequest("m", OURS[0]))
