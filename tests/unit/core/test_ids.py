"""Ids from the pool."""

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from backend.core.ids import new_id

_NOISE = 2**76 - 1
"""What of an id does not come from the clock."""


def test_ids_grow_with_time_and_the_rest_of_them_is_random() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert {(one.version, one.variant) for one in made} == {(7, uuid.RFC_4122)}
    times = [one.int >> 80 for one in made]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    for bit in (*range(62), *range(64, 76)):
        assert 350 < sum(one.int >> bit & 1 for one in made) < 650, "more than nine deviations of a fair coin"


def test_no_id_comes_twice_whatever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [one.int & _NOISE for one in threads.map(lambda _: new_id(), range(20_000))]
    assert len(set(made)) == 20_000


def test_a_forked_process_makes_ids_of_its_own() -> None:
    new_id()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, new_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    drawn = uuid.UUID(bytes=os.read(reader, 16)).int & _NOISE
    assert drawn not in {new_id().int & _NOISE for _ in range(300)}
