"""What is known about embedding models: the words they want before a text, their languages, how far to trust them.

From the models' own cards. A model that is not here gets no prefix and the middle weight.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from backend.features.knowledge.ports import Purpose

_MULTILINGUAL, _UNTOLD, _ENGLISH = 0.5, 0.4, 0.3
_ENGLISH_COSINE = 0.4


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What is known about a family of models."""

    pattern: str
    """Matches its names, in small letters, anywhere."""
    query: str = ""
    document: str = ""
    """What stands before a text; part of the fingerprint."""
    is_multilingual: bool = True
    cosine: float = 0.45
    """From where on a passage has to do with a question; for known families a guess, to be measured."""
    is_known: bool = True

    @property
    def dense_weight(self) -> float:
        """How much its ranking counts beside keywords: models of one language know little of the other."""
        if not self.is_known:
            return _UNTOLD
        return _MULTILINGUAL if self.is_multilingual else _ENGLISH

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
    EmbeddingModel(r"(mistral|codestral)-embed", cosine=0.68),
    EmbeddingModel(r"bge-m3"),
    EmbeddingModel(r"embeddinggemma", "task: search result | query: ", "title: none | text: "),
    EmbeddingModel(r"qwen3-embedding", _INSTRUCT),
    EmbeddingModel(r"snowflake-arctic-embed2", "query: "),
    EmbeddingModel(r"nomic-embed-text-v2", "search_query: ", "search_document: "),
    EmbeddingModel(r"paraphrase-multilingual"),
    EmbeddingModel(r"multilingual-e5", "query: ", "passage: "),
    EmbeddingModel(r"granite-embedding:278m"),
    EmbeddingModel(r"text-embedding-3"),
    EmbeddingModel(
        r"nomic-embed", "search_query: ", "search_document: ", is_multilingual=False, cosine=_ENGLISH_COSINE
    ),
    EmbeddingModel(r"mxbai-embed", _RETRIEVE, is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"snowflake-arctic-embed", _RETRIEVE, is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"(^|[/-])bge-", _RETRIEVE, is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"(^|[/-])e5-", "query: ", "passage: ", is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"granite-embedding", is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"all-minilm", is_multilingual=False, cosine=_ENGLISH_COSINE),
    EmbeddingModel(r"text-embedding-ada", is_multilingual=True),
)
"""The first that matches counts; where one may choose among several, the earlier is the better."""

_UNKNOWN = EmbeddingModel("", is_known=False)


@lru_cache(maxsize=256)
def find_model(name: str) -> EmbeddingModel | None:
    """Return what is known about a model, or None."""
    return next((model for model in KNOWN if re.search(model.pattern, name.lower())), None)


def about(name: str) -> EmbeddingModel:
    """Return what to assume about a model."""
    return find_model(name) or _UNKNOWN


def rank(name: str) -> int | None:
    """Return a model's place among those that are known, 0 for the best; None for an unknown one."""
    known = find_model(name)
    return None if known is None else KNOWN.index(known)
