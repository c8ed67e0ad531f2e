"""The models of all backends under the names clients use."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.auth.principal import ANONYMOUS, Permission, Principal
from backend.features.catalog.backends import Backend
from backend.features.catalog.service import CatalogService
from backend.llm.capabilities import Capability
from backend.llm.errors import ModelNotFound, ProviderUnreachable
from tests.fakes.clock import ManualClock
from tests.fakes.providers import ScriptedProvider, backend_of, info, settle_loop

TTL = 30.0


class Rig:
    """A catalogue over scripted providers, with a clock of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.services: list[CatalogService] = []

    def catalog(self, *backends: Backend, ttl: float = TTL) -> CatalogService:
        service = CatalogService(backends, ttl, self.clock)
        self.services.append(service)
        return service


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    for service in rig.services:
        await service.aclose()


def provider(*names: str) -> ScriptedProvider:
    return ScriptedProvider(models=[info(name) for name in names])


async def names(catalog: CatalogService) -> Sequence[str]:
    return [model.name.short for model in await catalog.models(ANONYMOUS)]


async def test_models_come_in_the_order_of_backends_and_lists(rig: Rig) -> None:
    catalog = rig.catalog(backend_of(provider("b", "a"), "one"), backend_of(provider("c"), "two"))
    assert await names(catalog) == ["b:latest", "a:latest", "c:latest"]


async def test_backends_of_one_kind_share_a_model(rig: Rig) -> None:
    first, second = backend_of(provider("m"), "one", "vllm"), backend_of(provider("M:latest"), "two", "vllm")
    model = await rig.catalog(first, second).resolve("m", ANONYMOUS)
    assert [c.backend.name for c in model.candidates] == ["one", "two"]
    assert model.backend is first
    assert [c.info.model_id for c in model.candidates] == ["m", "M:latest"]


async def test_of_different_kinds_the_first_configured_counts(rig: Rig) -> None:
    catalog = rig.catalog(backend_of(provider("m"), "one", "mistral"), backend_of(provider("m"), "two", "ollama"))
    assert [c.backend.name for c in (await catalog.resolve("m", ANONYMOUS)).candidates] == ["one"]


async def test_one_backend_is_one_candidate_though_it_lists_a_name_twice(rig: Rig) -> None:
    catalog = rig.catalog(backend_of(provider("m", "M")))
    assert len((await catalog.resolve("m", ANONYMOUS)).candidates) == 1


@pytest.mark.parametrize("asked", ["m", "M", "m:latest", "M:LATEST", "library/m", "registry.ollama.ai/library/M"])
async def test_a_model_is_found_in_every_spelling(rig: Rig, asked: str) -> None:
    assert (await rig.catalog(backend_of(provider("m"))).resolve(asked, ANONYMOUS)).info.model_id == "m"


async def test_an_alias_finds_the_model_its_backend_lists_under_an_odd_name(rig: Rig) -> None:
    model = await rig.catalog(backend_of(provider("org/sub/My Model+"))).resolve("sub/my-model", ANONYMOUS)
    assert model.info.model_id == "org/sub/My Model+"


@pytest.mark.parametrize("asked", ["", "a:", "/a", "a b", "x" * 1000])
async def test_a_name_that_cannot_be_one_is_the_callers_mistake(rig: Rig, asked: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid model name"):
        await rig.catalog(backend_of(provider("m"))).resolve(asked, ANONYMOUS)


async def test_an_unknown_name_asks_the_backends_once_in_a_while(rig: Rig) -> None:
    up = provider("m")
    catalog = rig.catalog(backend_of(up))
    await catalog.resolve("m", ANONYMOUS)
    rig.clock.advance(3)
    for _ in range(4):
        with pytest.raises(ModelNotFound, match="model 'nope' not found"):
            await catalog.resolve("nope", ANONYMOUS)
    assert up.listings == 2
    rig.clock.advance(3)
    up.models = [info("m"), info("nope")]
    assert (await catalog.resolve("nope", ANONYMOUS)).info.model_id == "nope"


async def test_questions_at_the_same_time_share_one_reading(rig: Rig) -> None:
    up = provider("m")
    up.gate = asyncio.Event()
    catalog = rig.catalog(backend_of(up))
    asked = [asyncio.create_task(catalog.resolve("m", ANONYMOUS)) for _ in range(20)]
    await settle_loop()
    up.gate.set()
    assert {model.name.short for model in await asyncio.gather(*asked)} == {"m:latest"}
    assert up.listings == 1


async def test_backends_are_asked_side_by_side(rig: Rig) -> None:
    ups = [provider("a"), provider("b")]
    for up in ups:
        up.gate = asyncio.Event()
    reading = asyncio.create_task(rig.catalog(*(backend_of(up, f"b{i}") for i, up in enumerate(ups))).models(ANONYMOUS))
    await settle_loop()
    assert [up.listings for up in ups] == [1, 1]
    for up in ups:
        assert up.gate is not None
        up.gate.set()
    assert len(await reading) == 2


async def test_a_failing_backend_keeps_its_last_list_and_says_why(rig: Rig) -> None:
    up = provider("m")
    backend = backend_of(up)
    catalog = rig.catalog(backend, backend_of(provider("n"), "other"))
    await catalog.models(ANONYMOUS)
    up.models = ProviderUnreachable("backend 'up' cannot be reached")
    rig.clock.advance(TTL + 1)
    assert await names(catalog) == ["m:latest", "n:latest"]
    assert backend.last_error == "backend 'up' cannot be reached"
    up.models = [info("new")]
    rig.clock.advance(TTL + 1)
    assert await names(catalog) == ["new:latest", "n:latest"]
    assert backend.last_error == ""


async def test_a_caller_who_leaves_does_not_stop_the_reading(rig: Rig) -> None:
    up = provider("m")
    up.gate = asyncio.Event()
    catalog = rig.catalog(backend_of(up))
    leaving, staying = (asyncio.create_task(catalog.resolve("m", ANONYMOUS)) for _ in range(2))
    await settle_loop()
    leaving.cancel()
    await settle_loop()
    assert leaving.cancelled()
    up.gate.set()
    assert (await staying).info.model_id == "m"
    assert up.listings == 1


async def test_a_known_model_is_served_at_once_while_the_list_is_read_beside(rig: Rig) -> None:
    up = provider("m")
    catalog = rig.catalog(backend_of(up))
    await catalog.resolve("m", ANONYMOUS)
    rig.clock.advance(TTL + 1)
    up.gate = asyncio.Event()
    assert (await asyncio.wait_for(catalog.resolve("m", ANONYMOUS), 1)).info.model_id == "m"
    await settle_loop()
    assert up.listings == 2


async def test_a_fresh_list_is_not_read_again(rig: Rig) -> None:
    up = provider("m")
    catalog = rig.catalog(backend_of(up))
    for _ in range(3):
        await catalog.models(ANONYMOUS)
        await catalog.resolve("m", ANONYMOUS)
    assert up.listings == 1


async def test_forgetting_reads_again_at_the_next_question(rig: Rig) -> None:
    up = provider("m")
    catalog = rig.catalog(backend_of(up))
    await catalog.models(ANONYMOUS)
    catalog.forget()
    await catalog.models(ANONYMOUS)
    assert up.listings == 2


async def test_closing_stops_a_reading_that_hangs(rig: Rig) -> None:
    up = provider("m")
    up.gate = asyncio.Event()
    catalog = rig.catalog(backend_of(up))
    reading = catalog.start()
    await settle_loop()
    await asyncio.wait_for(catalog.aclose(), 1)
    assert reading.cancelled()


async def test_a_model_of_which_nothing_is_known_may_try_everything(rig: Rig) -> None:
    up = ScriptedProvider(models=[info("unknown"), info("sees", Capability.VISION)])
    catalog = rig.catalog(backend_of(up))
    unknown, sees = await catalog.resolve("unknown", ANONYMOUS), await catalog.resolve("sees", ANONYMOUS)
    assert unknown.can(Capability.TOOLS)
    assert sees.can(Capability.VISION)
    assert not sees.can(Capability.TOOLS)


async def test_a_caller_sees_and_finds_only_the_models_they_may_use(rig: Rig) -> None:
    catalog = rig.catalog(backend_of(provider("m", "secret")))
    limited = Principal("key", models=frozenset({"registry.ollama.ai/library/m:latest"}))
    assert [model.name.short for model in await catalog.models(limited)] == ["m:latest"]
    assert (await catalog.resolve("M", limited)).info.model_id == "m"
    with pytest.raises(ModelNotFound, match="model 'secret' not found"):
        await catalog.resolve("secret", limited)


async def test_a_caller_without_the_right_to_use_models_gets_none(rig: Rig) -> None:
    catalog = rig.catalog(backend_of(provider("m")))
    clerk = Principal("key", frozenset({Permission.WRITE_KEYS}))
    assert await catalog.models(clerk) == ()
    with pytest.raises(NotPermitted, match="models:use"):
        await catalog.resolve("m", clerk)
