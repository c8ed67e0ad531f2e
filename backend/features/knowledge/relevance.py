"""Whether a passage has anything to do with a question: nothing is better than what only looks like an answer."""

import math
import re
from collections.abc import Collection, Mapping, Sequence

_TELLING_SHARE, _TELLING_FEW = 0.05, 5
"""A word tells passages apart that is in one of twenty (an idf over 3), or in a handful where there are few."""
_FREQUENT_SHARE, _FREQUENT_LEAST = 0.1, 1_000
"""A word in more than one of ten is not looked for, once that is many."""
_MOST_TERMS = 16
_ENOUGH_WORDS = 2
_FEW_WORDS = 2
"""Telling words of a question in which a code is enough."""
_MOST_COUNTED = 128
_CODE = re.compile(r"[^\W\d_]+\d\w*")
"""Letters and then digits, as in `m8` or `iso27001`; not `1er` or `20h`, which any text may hold."""


def rare_first(terms: Collection[str], counts: Mapping[str, int], passages: int) -> list[str]:
    """Return the terms worth looking for: those in the fewest passages, without those in many."""
    most = max(passages * _FREQUENT_SHARE, _FREQUENT_LEAST)
    known = [term for term in dict.fromkeys(terms) if 0 < counts.get(term, 0) <= most]
    return sorted(known, key=lambda term: counts[term])[:_MOST_TERMS]


def both_ends(words: Sequence[frozenset[str]], most: int) -> list[frozenset[str]]:
    """Return the words at both ends of a long question, of so many terms at most: what is asked stands at one."""
    chosen: list[frozenset[str]] = []
    for at in range(len(words)):
        word = words[at // 2] if at % 2 else words[-1 - at // 2]
        most -= len(word)
        if most < 0:
            break
        chosen.append(word)
    return chosen


def within_bounds(
    words: Sequence[frozenset[str]], exact: Sequence[str], terms: Collection[str]
) -> tuple[Sequence[frozenset[str]], Sequence[str], frozenset[str]]:
    """Return the words, the references and all terms of a question that are counted: everything, unless it is long.

    Each term that is counted costs a look into the index, and what somebody pastes in has hundreds.
    """
    every = frozenset(terms).union(*words, exact)
    if len(every) <= _MOST_COUNTED:
        return words, exact, every
    exact = exact[: _MOST_COUNTED // 4]
    words = both_ends(words, _MOST_COUNTED - len(exact))
    return words, exact, frozenset(exact).union(*words)


class KeywordGate:
    """Lets passages through that hold enough of a question: two of its words, one of which tells passages apart.

    A reference is enough by itself, and so is a code such as `M8` that tells passages apart, in a question with hardly
    another word that does: among many words of a log it would let nearly everything through. On fr-piaf the two words
    admit 84 % of the right paragraphs and 0.8 % of others; two telling words would admit 80 %.

    Args:
        words: of the question, each as the terms it may be under.
        exact: references in it; one of them is enough.
        counts: in how many passages each term is.
        passages: how many there are.
    """

    def __init__(
        self, words: Sequence[frozenset[str]], exact: Collection[str], counts: Mapping[str, int], passages: int
    ) -> None:
        most = max(math.floor(passages * _TELLING_SHARE), _TELLING_FEW)
        telling = [word for word in words if max((counts.get(term, 0) for term in word), default=0) <= most]
        self._words = words
        self._telling = frozenset().union(*(telling or words))
        short = telling if len(telling) <= _FEW_WORDS else ()
        codes = (term for word in short for term in word if _CODE.fullmatch(term))
        self._exact = frozenset(exact).union(codes)
        self._enough = min(_ENOUGH_WORDS, max(len(words), 1))

    def admits(self, terms: frozenset[str]) -> bool:
        """Whether a passage with these terms has to do with the question."""
        if not self._exact.isdisjoint(terms):
            return True
        if self._telling.isdisjoint(terms):
            return False
        return sum(not word.isdisjoint(terms) for word in self._words) >= self._enough
