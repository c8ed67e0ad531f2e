"""Vectors of memories compared: the nearest, and which one another takes the place of."""

from array import array

from backend.features.memory.nearness import nearest, replaced


def unit(*numbers: float) -> bytes:
    return array("f", numbers).tobytes()


EAST, NORTH, WEST = unit(1, 0), unit(0, 1), unit(-1, 0)
ALMOST_EAST = unit(0.96, 0.28)


def test_the_nearest_come_first_and_vectors_of_another_length_never() -> None:
    rows = [(1, WEST), (2, ALMOST_EAST), (3, unit(1, 0, 0)), (4, EAST), (5, NORTH)]
    found = nearest(rows, EAST, 3)
    assert list(found) == [4, 2, 5]
    assert round(found[2], 2) == 0.96
    assert nearest([(3, unit(1, 0, 0))], EAST, 3) == {}
    assert nearest([], EAST, 3) == {}


def test_the_newer_of_two_that_are_almost_the_same_stays() -> None:
    assert replaced([(1, EAST), (2, NORTH)], [(5, ALMOST_EAST)]) == {1}
    assert replaced([], [(5, EAST), (6, NORTH), (7, ALMOST_EAST)]) == {5}
    assert replaced([(9, EAST)], [(5, ALMOST_EAST)]) == {5}, "made late, said earlier"
    assert replaced([(1, unit(1, 0, 0)), (2, NORTH)], [(5, EAST)]) == set()
    assert replaced([(1, EAST)], []) == set()
