r"""Text -> the terms under which it is found: without accents, case and inflection, without words that say nothing.

Stems are taken before accents are, which Snowball's French rules need. What has a digit in it and parts joined by `-`,
`_`, `.`, `/` or `@` is also kept whole: references and identifiers are looked for as they are written.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import Stemmer

from backend.features.knowledge.composed import composed
from backend.features.knowledge.languages import STOPWORDS, Language, guess_language

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_COMPOUND = re.compile(r"[^\W_]+(?:[-_./@#+][^\W_]+)+", re.UNICODE)
_MAX_WORD = 64
"""Longer runs of letters are no words: base64, sequences."""
_SHORTEST = 3
"""Letters of a French word in `-ou`: `cou`, not `ou`."""
_ENOUGH = 20_000
"""Characters that tell a text's language."""
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ß": "ss", "ø": "o", "đ": "d", "ł": "l"})
_STEMMERS = {Language.FRENCH: "french", Language.ENGLISH: "english"}
_READ_AS = {
    Language.FRENCH: (Language.FRENCH,),
    Language.ENGLISH: (Language.ENGLISH,),
    Language.OTHER: tuple(Language),
}
"""Tables and lists hold no words that tell their language: theirs are found under the stems of each."""


def fold(text: str) -> str:
    """Return text in lower case without accents and ligatures."""
    decomposed = composed("NFKD", _lower(text))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def index_terms(text: str, language: Language) -> list[str]:
    """Return the terms of a passage in its language, as often as they are there."""
    read_as = _READ_AS[language]
    words = _telling(_words(text), language)
    return [*(term for word in words for term in dict.fromkeys(_stem(word, one) for one in read_as)), *references(text)]


def query_terms(text: str, languages: Sequence[Language]) -> list[str]:
    """Return what to look for, each term once, in each language that passages are in."""
    words = _words(text)
    terms: dict[str, None] = {}
    for language in _read_as(languages):
        telling = _telling(words, language) or words
        stems = [*_stems(telling, language), *_stems(map(fold, telling), language)]
        terms |= dict.fromkeys([*stems, *_other_number(stems, language)])
    return list(terms | dict.fromkeys(references(text)))


def query_words(text: str, languages: Sequence[Language]) -> list[frozenset[str]]:
    """Return the words of a question that say something in any of the languages, each as all terms it may be under."""
    words, languages = list(dict.fromkeys(_words(text))), _read_as(languages)
    silent = frozenset().union(*(STOPWORDS[language] for language in languages))
    telling = [word for word in words if fold(word) not in silent] or words
    return [frozenset().union(*(_forms(word, language) for language in languages)) for word in telling]


def references(text: str) -> list[str]:
    """Return what is written in one with joints and has a digit in it, as one term each."""
    found = (match for match in _COMPOUND.findall(fold(text)) if len(match) <= _MAX_WORD)
    return ["".join(_WORD.findall(match)) for match in found if any(map(str.isdigit, match))]


def language_of(text: str) -> Language:
    """Return the language of a text by its first words."""
    return guess_language(map(fold, _words(text[:_ENOUGH])))


def _lower(text: str) -> str:
    return composed("NFKC", composed("NFKC", text).casefold()).translate(_LETTERS)


def _words(text: str) -> list[str]:
    """Return the words of a text in their order, in lower case."""
    return [word for word in _WORD.findall(_lower(text)) if len(word) <= _MAX_WORD]


@lru_cache(maxsize=50_000)
def _stem(word: str, language: Language) -> str:
    """Return the stem of a word, without accents."""
    name = _STEMMERS.get(language)
    return fold(word if name is None else _stemmer(name).stemWord(word))


def _stems(words: Iterable[str], language: Language) -> list[str]:
    return [_stem(word, language) for word in words]


def _forms(word: str, language: Language) -> list[str]:
    """Return what one word of a question may be under."""
    # Also as people type it, without accents: for some words that has another stem.
    stems = [_stem(word, language), _stem(fold(word), language)]
    return [*stems, *_other_number(stems, language)]


def _other_number(stems: Iterable[str], language: Language) -> list[str]:
    """Return the other number of French words in `-ou`: Snowball lets those keep their `s`, as in `écrous`."""
    if language is not Language.FRENCH:
        return []
    ending = [(stem, stem.removesuffix("s")) for stem in stems if stem.endswith(("ou", "ous"))]
    return [f"{one}s" if stem == one else one for stem, one in ending if len(one) >= _SHORTEST]


def _read_as(languages: Sequence[Language]) -> Sequence[Language]:
    """Return the languages that a question is read in for passages in these."""
    return list(dict.fromkeys(one for language in languages or (Language.OTHER,) for one in _READ_AS[language]))


def _telling(words: Iterable[str], language: Language) -> list[str]:
    """Return the words that say something."""
    return [word for word in words if fold(word) not in STOPWORDS[language]]


@lru_cache
def _stemmer(name: str) -> Stemmer.Stemmer:
    return Stemmer.Stemmer(name)
