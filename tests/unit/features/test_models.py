"""Listing, describing and pulling models."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from backend.core.errors import InvalidRequest, NotPermitted
from backend.features.auth.context import CallContext
from backend.features.auth.principal import ANONYMOUS
from backend.features.catalog.backends import Backend
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.models import Models
from backend.llm.capabilities import Capability
from backend.llm.errors import ModelNotFound, ProviderUnreachable, PullFailed
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info

HOSTED = info("big-model", Capability.COMPLETION, Capability.TOOLS, context_length=32_000, family="mistral")
HOSTS = ("registry.ollama.ai", "hf.co")


def native(name: str, modified: str = "2026-05-01T00:00:00Z") -> Any:
    return info(name, is_listed=False, native={"name": name, "model": name, "modified_at": modified, "size": 5})


class Rig:
    """The model routes over scripted backends."""

    def __init__(self, *backends: Backend, forward_pull: bool = True) -> None:
        self.catalog = CatalogService(backends, 30)
        self.recent = RecentModels()
        self.models = Models(self.catalog, self.recent, forward_pull=forward_pull, pull_hosts=HOSTS)
        generation = GenerationService(Admission(AdmissionLimits()))
        self.inference = Inference(Intake(self.catalog, generation, self.recent))


@pytest.fixture
def hosted() -> Backend:
    return backend_of(ScriptedProvider(models=[HOSTED]), "cloud", "mistral")


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer(models=[native("llama3:8b"), native("old", "2025-01-01T00:00:00Z")])


@pytest.fixture
def rig(hosted: Backend, server: ScriptedServer) -> Rig:
    return Rig(hosted, backend_of(server, "local", "ollama"))


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


async def names(models: Models) -> list[str]:
    return [entry["name"] for entry in json.loads(await models.tags(ANONYMOUS))["models"]]


async def test_tags_lists_every_model_the_newest_first(rig: Rig) -> None:
    assert await names(rig.models) == ["llama3:8b", "big-model:latest", "old:latest"]


async def test_tags_without_models_is_an_empty_list() -> None:
    assert await Rig(backend_of(ScriptedProvider())).models.tags(ANONYMOUS) == b'{"models":[]}'


async def test_tags_and_show_tell_the_same_of_a_hosted_model(rig: Rig) -> None:
    listed = json.loads(await rig.models.tags(ANONYMOUS))["models"][1]
    shown = json.loads(await rig.models.show(body(model="BIG-MODEL"), ANONYMOUS, ""))
    assert shown["capabilities"] == listed["capabilities"] == ["completion", "tools"]
    assert shown["model_info"]["mistral.context_length"] == listed["details"]["context_length"] == 32_000


async def test_show_lets_the_caller_set_the_system_text(rig: Rig) -> None:
    assert (
        json.loads(await rig.models.show(body(name="big-model", system="Be kind."), ANONYMOUS, ""))["system"]
        == "Be kind."
    )


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({}, InvalidRequest, "model is required"),
        ({"model": "a b"}, InvalidRequest, "invalid model name"),
        ({"model": "nope"}, ModelNotFound, "model 'nope:latest' not found"),
        ({"model": "ns/nope:7b"}, ModelNotFound, "model 'ns/nope:7b' not found"),
    ],
)
async def test_show_refuses_in_ollamas_words(rig: Rig, fields: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=f"^{text}$"):
        await rig.models.show(body(**fields), ANONYMOUS, "")


async def test_show_passes_a_machines_own_description_on_without_cloud_fields(rig: Rig, server: ScriptedServer) -> None:
    server.description = {"details": {"family": "llama"}, "remote_model": "x", "remote_host": "y"}
    shown = json.loads(await rig.models.show(body(model="llama3:8b", verbose=True), ANONYMOUS, ""))
    assert shown == {
        "details": {"family": "llama"},
        "asked": "llama3:8b",
        "verbose": True,
        "model_info": {},
        "capabilities": ["completion"],
    }


async def test_copilot_is_shown_the_name_it_asked_for(rig: Rig) -> None:
    shown = json.loads(await rig.models.show(body(model="Big-Model"), ANONYMOUS, "GitHubCopilotChat/1.0"))
    assert shown["model_info"]["general.basename"] == "Big-Model"


async def test_ps_joins_loaded_and_lately_used_models(rig: Rig, server: ScriptedServer) -> None:
    server.loaded = [{"name": "llama3:8b", "expires_at": "2020-01-01T00:00:00Z"}]
    rig.recent.touch((await rig.catalog.resolve("big-model", ANONYMOUS)).name.key, None)
    rig.recent.touch("not/known:any", None)
    listed = json.loads(await rig.models.running(ANONYMOUS))["models"]
    assert [entry["name"] for entry in listed] == ["big-model:latest", "llama3:8b"]
    assert listed[0]["size"] == listed[0]["size_vram"] > 0


async def test_ps_shows_nothing_of_a_machine_that_does_not_answer(rig: Rig, server: ScriptedServer) -> None:
    server.loaded = ProviderUnreachable("gone")
    assert await rig.models.running(ANONYMOUS) == b'{"models":[]}'


@pytest.mark.parametrize("route", ["embed", "embeddings"])
async def test_ps_lists_a_machines_model_once_after_embedding_with_it(
    rig: Rig, server: ScriptedServer, route: str
) -> None:
    server.loaded = [{"name": "llama3:8b", "expires_at": "2020-01-01T00:00:00Z"}]
    await getattr(rig.inference, route)(body(model="llama3:8b", input="x", prompt="x"), CallContext(ANONYMOUS))
    listed = json.loads(await rig.models.running(ANONYMOUS))["models"]
    assert [entry["name"] for entry in listed] == ["llama3:8b"]


class TestPull:
    """A hosted model is there, a machine pulls, nobody else does."""

    @staticmethod
    async def pulled(rig: Rig, **fields: Any) -> list[Mapping[str, Any]]:
        answer = await rig.models.pull(body(**fields), ANONYMOUS)
        return [json.loads(line) for line in (await drain(answer)).splitlines()]

    async def test_a_hosted_model_is_already_there(self, rig: Rig, server: ScriptedServer) -> None:
        assert (await self.pulled(rig, model="big-model"))[-1] == {"status": "success"}
        assert server.pulled == []

    @pytest.mark.parametrize(
        ("name", "asked"),
        [
            ("llama3:8b", "llama3:8b"),
            ("new-model", "new-model:latest"),
            ("hf.co/user/new:q4", "hf.co/user/new:q4"),
            ("evil.test/x://registry.ollama.ai/a/b", "a/b:latest"),
        ],
    )
    async def test_a_machine_pulls_what_it_has_and_what_nobody_has(
        self, rig: Rig, server: ScriptedServer, name: str, asked: str
    ) -> None:
        assert await self.pulled(rig, model=name) == [{"status": "success"}]
        assert server.pulled == [asked]
        assert server.pulls_ended == 1

    async def test_a_pulled_model_is_listed_at_once(self, rig: Rig, server: ScriptedServer) -> None:
        await rig.models.tags(ANONYMOUS)
        server.models = [native("new-model")]
        await self.pulled(rig, name="new-model")
        assert "new-model:latest" in await names(rig.models)

    @pytest.mark.parametrize("name", ["evil.test/ns/model", "127.0.0.1:80/ns/model", "http://h/a/b", "h:1/a/b:c"])
    async def test_other_registries_are_refused(self, rig: Rig, server: ScriptedServer, name: str) -> None:
        with pytest.raises(NotPermitted, match="is not allowed here"):
            await rig.models.pull(body(model=name), ANONYMOUS)
        assert server.pulled == []

    async def test_pulling_can_be_switched_off(self, hosted: Backend, server: ScriptedServer) -> None:
        rig = Rig(hosted, backend_of(server, "local", "ollama"), forward_pull=False)
        with pytest.raises(NotPermitted, match="switched off"):
            await rig.models.pull(body(model="new-model"), ANONYMOUS)
        assert (await self.pulled(rig, model="big-model"))[-1] == {"status": "success"}

    @pytest.mark.parametrize("fields", [{}, {"model": ""}, {"model": "a b"}, {"name": "a:"}])
    async def test_a_name_that_cannot_be_one_is_refused(self, rig: Rig, fields: Any) -> None:
        with pytest.raises(InvalidRequest, match="invalid model name"):
            await rig.models.pull(body(**fields), ANONYMOUS)

    async def test_without_a_machine_an_unknown_model_ends_in_ollamas_words(self, hosted: Backend) -> None:
        steps = await self.pulled(Rig(hosted), model="nope")
        assert steps == [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]

    async def test_a_failing_download_tells_why(self, rig: Rig, server: ScriptedServer) -> None:
        server.progress = ({"status": "pulling manifest"}, PullFailed("no space"))
        assert (await self.pulled(rig, model="new-model"))[-1] == {"error": "no space"}
