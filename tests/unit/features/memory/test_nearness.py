"""Vectors of memories compared: the nearest, and which one another takes the place of."""

from array import array

from backend.features.memory.nearness import VectorCache, nearest, replaced, stack


def unit(*numbers: float) -> bytes:
    return array("f", numbers).tobytes()


EAST, NORTH, WEST = unit(1, 0), unit(0, 1), unit(-1, 0)
ALMOST_EAST = unit(0.96, 0.28)


def test_the_nearest_come_first_and_vectors_of_another_length_never() -> None:
    rows = [(1, WEST), (2, ALMOST_EAST), (3, unit(1, 0, 0)), (4, EAST), (5, NORTH)]
    found = nearest(stack(rows), EAST, 3)
    assert list(found) == [4, 2, 5]
    assert round(found[2], 2) == 0.96
    assert list(nearest(stack(rows), EAST, 3, {4, 5})) == [2, 1]
    assert nearest(stack([(3, unit(1, 0, 0))]), EAST, 3) == {}
    assert nearest(stack([]), EAST, 3) == {}


def test_kept_vectors_are_those_of_the_store_as_it_is_and_take_no_more_than_they_may() -> None:
    vectors = stack([(1, EAST), (2, NORTH)])
    cache = VectorCache(2 * vectors.size)
    cache.put("a", (2, 2), vectors)
    assert cache.get("a", (2, 2)) is vectors
    assert cache.get("a", (2, 3)) is None
    assert cache.get("b", (2, 2)) is None
    cache.put("b", 0, vectors)
    cache.get("a", (2, 2))
    cache.put("c", 0, vectors)
    assert (cache.get("b", 0), cache.get("a", (2, 2))) == (None, vectors)


def test_the_newer_of_two_that_are_almost_the_same_stays() -> None:
    assert replaced([(1, EAST), (2, NORTH)], [(5, ALMOST_EAST)]) == {1}
    assert replaced([], [(5, EAST), (6, NORTH), (7, ALMOST_EAST)]) == {5}
    assert replaced([(9, EAST)], [(5, ALMOST_EAST)]) == {5}, "made late, said earlier"
    assert replaced([(1, unit(1, 0, 0)), (2, NORTH)], [(5, EAST)]) == set()
    assert replaced([(1, EAST)], []) == set()
