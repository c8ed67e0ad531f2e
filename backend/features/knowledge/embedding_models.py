"""What is known about embedding models: the words they want before a text, their languages, how far to trust them.

From the models' own cards. A model that is not here gets no prefix and the middle weight.
"""

import re
from dataclasses import dataclass

from backend.features.knowledge.ports import Purpose


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What is known about a family of models."""

    pattern: str
    """Matches its names, in small letters, anywhere."""
    query: str = ""
    document: str = ""
    """What stands before a text; part of the fingerprint."""
    is_multilingual: bool = True

    @property
    def dense_weight(self) -> float:
        """How much its ranking counts beside keywords: models of one language know little of the other."""
        return 0.5 if self.is_multilingual else 0.3

    @property
    def scheme(self) -> str:
        """Name both prefixes in one text."""
        return f"{self.query}\n{self.document}"

    def prepared(self, text: str, purpose: Purpose) -> str:
        """Return a text as the model wants it."""
        return (self.query if purpose == "query" else self.document) + text


_RETRIEVE = "Represent this sentence for searching relevant passages: "
_INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "

KNOWN = (
    EmbeddingModel(r"mistral-embed"),
    EmbeddingModel(r"bge-m3"),
    EmbeddingModel(r"embeddinggemma", "task: search result | query: ", "title: none | text: "),
    EmbeddingModel(r"qwen3-embedding", _INSTRUCT),
    EmbeddingModel(r"snowflake-arctic-embed2", "query: "),
    EmbeddingModel(r"nomic-embed-text-v2", "search_query: ", "search_document: "),
    EmbeddingModel(r"paraphrase-multilingual"),
    EmbeddingModel(r"multilingual-e5", "query: ", "passage: "),
    EmbeddingModel(r"granite-embedding:278m"),
    EmbeddingModel(r"text-embedding-3"),
    EmbeddingModel(r"nomic-embed", "search_query: ", "search_document: ", is_multilingual=False),
    EmbeddingModel(r"mxbai-embed", _RETRIEVE, is_multilingual=False),
    EmbeddingModel(r"snowflake-arctic-embed", _RETRIEVE, is_multilingual=False),
    EmbeddingModel(r"(^|[/-])bge-", _RETRIEVE, is_multilingual=False),
    EmbeddingModel(r"(^|[/-])e5-", "query: ", "passage: ", is_multilingual=False),
    EmbeddingModel(r"granite-embedding", is_multilingual=False),
    EmbeddingModel(r"all-minilm", is_multilingual=False),
    EmbeddingModel(r"text-embedding-ada", is_multilingual=True),
)
"""The first that matches counts; where one may choose among several, the earlier is the better."""

_UNKNOWN = EmbeddingModel("")
_UNTOLD = 0.4


def find_model(name: str) -> EmbeddingModel | None:
    """Return what is known about a model, or None."""
    return next((model for model in KNOWN if re.search(model.pattern, name.lower())), None)


def about(name: str) -> EmbeddingModel:
    """Return what to assume about a model."""
    return find_model(name) or _UNKNOWN


def dense_weight(name: str) -> float:
    """Return how much a model's ranking counts beside keywords, from 0 to 1."""
    known = find_model(name)
    return _UNTOLD if known is None else known.dense_weight


def rank(name: str) -> int | None:
    """Return a model's place among those that are known, 0 for the best; None for an unknown one."""
    known = find_model(name)
    return None if known is None else KNOWN.index(known)
