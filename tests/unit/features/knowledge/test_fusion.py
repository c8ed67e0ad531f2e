"""One ranking of two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.features.knowledge.fusion import fuse

SCORES = st.dictionaries(st.integers(0, 9), st.floats(-5, 5), max_size=8)


@given(SCORES, SCORES, st.floats(0, 1))
def test_every_hit_is_there_once_best_first_between_nothing_and_one(
    keyword: dict[int, float], dense: dict[int, float], weight: float
) -> None:
    fused = fuse(keyword, dense, weight)
    assert set(fused) == set(keyword) | set(dense)
    assert list(fused.values()) == sorted(fused.values(), reverse=True)
    assert all(0 <= score <= 1.000001 for score in fused.values())


@given(SCORES)
def test_without_vectors_the_order_of_the_keywords_stands(keyword: dict[int, float]) -> None:
    fused = fuse(keyword, {}, 0.0)
    assert [keyword[key] for key in fused] == pytest.approx(sorted(keyword.values(), reverse=True), abs=1e-6)


def test_a_hit_of_both_sides_beats_one_of_either() -> None:
    assert next(iter(fuse({"a": 9.0, "b": 8.0, "x": 0.0}, {"b": 0.9, "c": 0.8, "x": 0.0}, 0.5))) == "b"


@given(SCORES, SCORES, st.sets(st.integers(0, 9)), st.floats(0, 1))
def test_what_vectors_could_not_look_at_counts_by_its_words_alone_and_all_else_as_ever(
    keyword: dict[int, float], dense: dict[int, float], unseen: set[int], weight: float
) -> None:
    unseen -= dense.keys()
    fused, alone, plain = fuse(keyword, dense, weight, unseen), fuse(keyword, {}, 0.0), fuse(keyword, dense, weight)
    assert set(fused) == set(plain)
    for key, score in fused.items():
        assert score == pytest.approx(alone[key] if key in unseen else plain[key])


def test_the_best_by_words_does_not_fall_behind_because_its_vectors_were_away() -> None:
    keyword, dense = {"theirs": 9.0, "ours": 5.0, "x": 0.0}, {"ours": 0.9, "x": 0.1}
    assert next(iter(fuse(keyword, dense, 0.5))) == "ours"
    assert next(iter(fuse(keyword, dense, 0.5, {"theirs"}))) == "theirs"
