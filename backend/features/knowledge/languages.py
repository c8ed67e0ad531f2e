"""Which language a text is in, and the words in it that say nothing: French, English, or another.

A document is told by a vote of its most frequent words; a question is too short for that and is read in every language
its scope holds.
"""

from collections.abc import Iterable
from enum import StrEnum


class Language(StrEnum):
    """A language whose word forms are known."""

    FRENCH = "fr"
    ENGLISH = "en"
    OTHER = "other"
    """Another, or none that can be told, as of tables."""


_MIN_SHARE = 0.08
"""Of a text's words that must be among a language's most frequent ones, or it is in another."""

_FRENCH = (
    "a afin ai ailleurs ainsi alors apres as au aucun aucune aujourd aupres auquel aura aurait aussi autour autre "
    "autres aux auxquelles auxquels avaient avait avant avec avoir ayant bien c ce ceci cela celle celles celui "
    "cependant ces cet cette ceux chaque chez ci combien comme comment d dans de deja depuis des desquelles "
    "desquels dont du duquel elle elles en encore entre est et etaient etait etant etes etre eu eux faire fait "
    "furent fut ici il ils j jamais je jusqu l la laquelle le lequel les lesquelles lesquels leur leurs lors "
    "lorsque lui m ma mais me meme memes mes mien moi moins mon n ne ni nos notre nous on ont ou par parmi pas "
    "pendant peu peut peuvent plus plusieurs pour pourquoi puis puisque qu quand que quel quelle quelles quels qui "
    "quoi s sa sans se selon sera serait ses si sien sinon soi soit son sont sous souvent sur t ta te tel telle "
    "telles tels tes toi ton toujours tous tout toute toutes tres tu un une vers voici voila vos votre vous y "
)
_ENGLISH = (
    "a about above after again against all also am an and any are as at be because been before being below between "
    "both but by can cannot could did do does doing down during each few for from further had has have having he "
    "her here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not "
    "of off on once only or other our ours ourselves out over own s same she should so some such t than that the "
    "their theirs them themselves then there these they this those through to too under until up very was we were "
    "what when where which while who whom why will with would you your yours yourself yourselves "
)

STOPWORDS = {
    Language.FRENCH: frozenset(_FRENCH.split()),
    Language.ENGLISH: frozenset(_ENGLISH.split()),
    Language.OTHER: frozenset[str](),
}
"""Words without meaning of their own, without accents."""


def guess_language(words: Iterable[str]) -> Language:
    """Return the language whose frequent words make up most of these, given in lower case without accents."""
    counted = list(words)
    votes = {language: sum(word in frequent for word in counted) for language, frequent in STOPWORDS.items()}
    best = max((Language.FRENCH, Language.ENGLISH), key=lambda language: votes[language])
    return best if counted and votes[best] >= len(counted) * _MIN_SHARE else Language.OTHER
