"""What every index of vectors does, whatever keeps it: compared exactly, Chroma in this process, Chroma as a server."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.adapters.vectors import chroma_child
from backend.adapters.vectors.chroma_child import ChromaChild
from backend.adapters.vectors.chroma_embedded import EmbeddedChroma
from backend.adapters.vectors.chroma_http import HttpChroma, ServerAt
from backend.adapters.vectors.exact import ExactVectors
from backend.core.errors import ConfigurationError, StoreUnavailable
from backend.features.knowledge.ports import VectorIndex
from tests.fakes.vectors import KeptVectors, RecordedExact, unit_vectors

INDEX = "kb_0123456789abcdef0123456789abcdef_01234567"
OTHER = "kb_ffffffffffffffffffffffffffffffff_01234567"
KINDS = ("exact", "embedded", "server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server, for all tests of the module."""
    port = chroma_child._free_port()
    folder = tmp_path_factory.mktemp("chroma")
    command = [sys.executable, "-c", chroma_child._START, "run", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--path", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=KINDS)
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    opened: RecordedExact | EmbeddedChroma | HttpChroma
    if request.param == "exact":
        opened = RecordedExact(KeptVectors())
    elif request.param == "embedded":
        opened = EmbeddedChroma(tmp_path / "chroma")
    else:
        opened = HttpChroma(ServerAt(request.getfixturevalue("server")))
        for name in await opened.names():
            await opened.drop(name)
    yield opened
    await opened.aclose()


async def test_the_nearest_come_first_with_their_cosine(index: VectorIndex) -> None:
    vectors = unit_vectors(40)
    await index.add(INDEX, range(40), vectors)
    found = await index.search(INDEX, vectors[7], 5)
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(40, -1)
    expected = np.argsort(-(matrix @ matrix[7]), kind="stable")[:5].tolist()
    assert [number for number, _ in found] == expected
    assert found[0][1] == pytest.approx(1.0, abs=1e-5)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


async def test_an_index_that_is_not_there_has_nothing(index: VectorIndex) -> None:
    vector = unit_vectors(1)[0]
    assert list(await index.search(INDEX, vector, 3)) == []
    assert await index.count(INDEX) == 0
    assert list(await index.sample(INDEX, [1])) == []
    await index.remove(INDEX, [1])
    await index.drop(INDEX)
    assert list(await index.names()) == []


async def test_what_is_added_again_takes_the_place_of_what_was(index: VectorIndex) -> None:
    first, second, third = unit_vectors(3)
    await index.add(INDEX, [1, 2], [first, second])
    await index.add(INDEX, [1], [third])
    assert await index.count(INDEX) == 2
    assert (await index.search(INDEX, third, 1))[0] == (1, pytest.approx(1.0, abs=1e-5))


async def test_what_is_removed_is_not_found_any_more(index: VectorIndex) -> None:
    vectors = unit_vectors(6)
    await index.add(INDEX, range(6), vectors)
    await index.remove(INDEX, [2, 3, 99])
    assert sorted(number for number, _ in await index.search(INDEX, vectors[2], 10)) == [0, 1, 4, 5]
    assert await index.count(INDEX) == 4


async def test_indices_know_nothing_of_each_other(index: VectorIndex) -> None:
    ours, theirs = unit_vectors(2)
    await index.add(INDEX, [1], [ours])
    await index.add(OTHER, [2], [theirs])
    assert [number for number, _ in await index.search(INDEX, theirs, 10)] == [1]
    assert sorted(await index.names()) == [INDEX, OTHER]
    await index.drop(INDEX)
    assert list(await index.names()) == [OTHER]
    assert list(await index.search(INDEX, ours, 10)) == []
    await index.add(INDEX, [3], [ours])
    assert [number for number, _ in await index.search(INDEX, ours, 10)] == [3]


async def test_a_sample_tells_what_can_be_found(index: VectorIndex) -> None:
    await index.add(INDEX, range(20), unit_vectors(20))
    assert sorted(await index.sample(INDEX, [3, 19, 500])) == [3, 19]


async def test_many_texts_that_are_the_same_are_all_there(index: VectorIndex) -> None:
    await index.add(INDEX, range(30), unit_vectors(1) * 30)
    assert sorted(await index.sample(INDEX, [0, 15, 29])) == [0, 15, 29]


async def test_writes_at_the_same_time_are_all_kept(index: VectorIndex) -> None:
    vectors = unit_vectors(60)
    await asyncio.gather(*(index.add(INDEX, [at, at + 1], vectors[at : at + 2]) for at in range(0, 60, 2)))
    assert await index.count(INDEX) == 60


async def test_a_vector_of_another_length_is_refused(index: VectorIndex) -> None:
    await index.add(INDEX, [1], unit_vectors(1))
    with pytest.raises(StoreUnavailable):
        await index.search(INDEX, unit_vectors(1, dimensions=3)[0], 1)


async def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    away = HttpChroma(ServerAt("http://127.0.0.1:9"))
    with pytest.raises(StoreUnavailable, match="CHROMA_URL"):
        await away.count(INDEX)


async def test_a_server_that_ended_is_started_again(tmp_path: Path) -> None:
    child = ChromaChild(tmp_path / "chroma")
    index = HttpChroma(child)
    try:
        await index.add(INDEX, [1], unit_vectors(1))
        assert child._process is not None
        child._process.kill()
        await child._process.wait()
        assert await index.count(INDEX) == 1
    finally:
        await index.aclose()


async def test_two_on_one_folder_are_refused(tmp_path: Path) -> None:
    first, second = EmbeddedChroma(tmp_path), EmbeddedChroma(tmp_path)
    try:
        await first.add(INDEX, [1], unit_vectors(1))
        with pytest.raises(ConfigurationError, match="another process keeps the index"):
            await second.open()
        with pytest.raises(StoreUnavailable, match="another process keeps the index"):
            await second.count(INDEX)
        with pytest.raises(StoreUnavailable, match="another process keeps the index"):
            await HttpChroma(ChromaChild(tmp_path)).count(INDEX)
        await first.aclose()
        assert await second.count(INDEX) == 1
    finally:
        await second.aclose()


async def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    vectors = unit_vectors(50)
    for turn in range(2):
        index = EmbeddedChroma(tmp_path)
        if not turn:
            await index.add(INDEX, range(50), vectors)
        assert (await index.search(INDEX, vectors[30], 1))[0][0] == 30
        await index.aclose()


async def test_a_scope_too_large_to_compare_is_refused_and_not_read() -> None:
    exact = ExactVectors(_Large(), max_rows=10)
    with pytest.raises(StoreUnavailable, match="too many"):
        await exact.search(INDEX, unit_vectors(1)[0], 1)


class _Large:
    async def stamp(self, index: str) -> tuple[int, Hashable]:  # noqa: ARG002
        return 11, 0

    async def rows(self, index: str) -> AsyncIterator[Sequence[tuple[int, bytes]]]:
        raise AssertionError(index)
        yield ()

    async def names(self) -> Sequence[str]:
        return ()


async def test_a_search_that_hangs_keeps_the_other_indices_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, goes_on, search = EmbeddedChroma(tmp_path), threading.Event(), EmbeddedChroma._search
    [one] = unit_vectors(1)

    def slow(self: EmbeddedChroma, name: str, wanted: bytes, limit: int) -> Any:
        if name == INDEX:
            goes_on.wait(20)
        return search(self, name, wanted, limit)

    monkeypatch.setattr(EmbeddedChroma, "_search", slow)
    for name in (INDEX, OTHER):
        await index.add(name, [1], [one])
    hanging = [asyncio.create_task(index.search(INDEX, one, 1)) for _ in range(6)]
    await asyncio.sleep(0.1)
    for task in hanging[:5]:
        task.cancel()
    async with asyncio.timeout(10):
        for _ in range(5):
            assert [number for number, _ in await index.search(OTHER, one, 1)] == [1]
        goes_on.set()
        assert [number for number, _ in await hanging[5]] == [1]
        assert [number for number, _ in await index.search(INDEX, one, 1)] == [1]
        await index.aclose()
