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
