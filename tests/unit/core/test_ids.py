"""Ids from the pool."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from backend.core.ids import new_id


def test_an_id_is_a_random_uuid() -> None:
    made = new_id()
    assert (made.version, made.variant) == (4, uuid.RFC_4122)


def test_no_id_comes_twice_whatever_thread_asks() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: new_id(), range(20_000)))
    assert len(set(made)) == 20_000


def test_a_forked_process_makes_ids_of_its_own() -> None:
    new_id()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, new_id().bytes)
        os._exit(0)
    os.waitpid(child, 0)
    assert uuid.UUID(bytes=os.read(reader, 16)) not in {new_id() for _ in range(300)}
