"""Several indices are searched on their own: what answers counts, what does not is told."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs

from backend.core.errors import StoreUnavailable
from backend.features.knowledge.dense import DenseSearch, Near
from backend.features.knowledge.ports import Fingerprint
from backend.features.knowledge.scopes import Scope
from tests.fakes.library import FakeEmbedder, FakeIndices

ONE, TWO, AGENT, CHAT = (uuid.UUID(int=number) for number in (1, 2, 3, 4))
MADE_BY = Fingerprint("f" * 16, "fake", "mistral-embed", 2)
AWAY = StoreUnavailable("the index of vectors cannot be read; it is being rebuilt")
BOTH = Scope(frozenset({ONE, TWO}))
Told = Mapping[uuid.UUID, Sequence[tuple[int, float]] | Exception | None]


async def nearest(told: Told, scope: Scope = BOTH, limit: int = 50) -> Near:
    indices = FakeIndices(told)
    return await DenseSearch(lambda: FakeEmbedder({}), indices).nearest(scope, MADE_BY, b"", limit, 1.0)  # type: ignore[arg-type]


async def test_the_nearest_of_all_indices_count_and_nothing_is_missing() -> None:
    told = {ONE: [(1, 0.5), (2, 0.4)], TWO: [(3, 0.9)], AGENT: [(4, 0.45)]}
    assert await nearest(told, Scope(frozenset({ONE, TWO}), agent_id=AGENT), 3) == Near(
        {3: 0.9, 1: 0.5, 4: 0.45}, Scope()
    )


@pytest.mark.parametrize("failing", [ONE, TWO, AGENT, CHAT])
@pytest.mark.parametrize("failure", [AWAY, TimeoutError(), None])
async def test_an_index_that_fails_or_is_late_takes_no_other_with_it(
    failing: uuid.UUID, failure: Exception | None
) -> None:
    told: Told = {place: [(place.int, 0.5)] for place in (ONE, TWO, AGENT, CHAT)}
    scope = Scope(frozenset({ONE}), frozenset({TWO}), AGENT, CHAT)
    with capture_logs() as logs:
        near = await nearest({**told, failing: failure}, scope)
    assert set(near.cosines) == {1, 2, 3, 4} - {failing.int}
    missing = near.unanswered
    assert missing.collections | {missing.own_agent, missing.own_chat} - {None} == {failing}
    [line] = logs
    assert (line["event"], line["failed"], line["of"]) == ("vector_indices_left_out", 1, 4)
    assert line["reason"] == (AWAY.message if failure is AWAY else "it did not answer in time")


async def test_an_index_that_hangs_is_given_up_after_the_time_there_is_and_no_later() -> None:
    loop = asyncio.get_running_loop()
    collections = [uuid.UUID(int=number) for number in range(1, 13)]
    indices = FakeIndices({**dict.fromkeys(collections[1:]), ONE: [(1, 0.5)]})
    search = DenseSearch(lambda: FakeEmbedder({}), indices)  # type: ignore[arg-type]
    began = loop.time()
    near = await search.nearest(Scope(frozenset(collections)), MADE_BY, b"", 50, 1.0)
    assert loop.time() - began == pytest.approx(1.0)
    assert (near.cosines, near.unanswered.named) == ({1: 0.5}, frozenset(collections[1:]))
    assert await search.nearest(Scope(frozenset({ONE})), MADE_BY, b"", 50, 1.0) == Near({1: 0.5}, Scope())


@pytest.mark.parametrize("others", [AWAY, (), None])
async def test_where_no_vector_was_found_and_something_failed_the_failure_is_told(
    others: Sequence[tuple[int, float]] | Exception | None,
) -> None:
    with pytest.raises(StoreUnavailable, match="being rebuilt"):
        await nearest({ONE: AWAY, TWO: others})
    with pytest.raises(TimeoutError):
        await nearest({ONE: None, TWO: others})


async def test_who_stops_waiting_stops_every_search() -> None:
    indices = FakeIndices({ONE: None, TWO: None})
    search = DenseSearch(lambda: FakeEmbedder({}), indices)  # type: ignore[arg-type]
    waiting = asyncio.ensure_future(search.nearest(BOTH, MADE_BY, b"", 50, 9.0))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert indices.given_up == 2


async def test_a_mistake_of_our_own_is_not_taken_for_an_index_that_is_away() -> None:
    with pytest.raises(ZeroDivisionError):
        await nearest({ONE: ZeroDivisionError(), TWO: [(1, 0.5)]})
