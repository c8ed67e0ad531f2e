"""Models of ours in the catalog: found, listed, never in the place of a backend's model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from backend.core.errors import InvalidRequest
from backend.features.auth.context import CallContext
from backend.features.auth.principal import EVERYTHING, Principal
from backend.features.catalog.recent import RecentModels
from backend.features.catalog.service import CatalogService
from backend.features.generation.admission import Admission, AdmissionLimits
from backend.features.generation.intake import Intake
from backend.features.generation.service import GenerationService
from backend.features.ollama_api.inference import Inference
from backend.features.ollama_api.management import Management, ManagementRules
from backend.features.ollama_api.models import Models
from backend.llm.capabilities import Capability
from backend.llm.errors import ModelNotFound, ProviderUnreachable
from backend.llm.names import ModelName, parse_name
from backend.llm.presets import Preset
from backend.llm.types import ChatRequest, CompletionRequest, EmbedRequest
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info

HOSTED = info("big", Capability.COMPLETION, Capability.INSERT, family="f", context_length=9)
ANA = Principal("k", EVERYTHING, trigramme="ana")
BOB = Principal("k", EVERYTHING, trigramme="bob")


def name_of(text: str) -> ModelName:
    name = parse_name(text)
    assert name is not None
    return name


def preset(name: str = "ana/legal", base: str = "big", **fields: Any) -> Preset:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Preset("id", name_of(name), name_of(base), when, "P", shows_prompt=True, **fields)


class Kept:
    """A source of presets that everybody may use, but for those hidden."""

    def __init__(self, *presets: Preset, hidden: Sequence[str] = ()) -> None:
        self.presets = {preset.name.key: preset for preset in presets}
        self.hidden = {name_of(name).key for name in hidden}

    def find(self, name: ModelName, principal: Principal) -> Preset | None:  # noqa: ARG002
        return None if name.key in self.hidden else self.presets.get(name.key)

    def all(self, principal: Principal) -> Sequence[Preset]:
        return [p for p in self.presets.values() if self.find(p.name, principal)]

    def takes(self, name: ModelName) -> bool:
        return name.key in self.presets


class Rig:
    """The routes of models and inference over one hosted backend, one machine and some presets."""

    def __init__(self, *presets: Preset, hidden: Sequence[str] = ()) -> None:
        self.hosted = ScriptedProvider(models=[HOSTED])
        entry = {"name": "own:7b", "digest": "d" * 64, "modified_at": "2026-05-01T00:00:00Z", "size": 5}
        self.machine = ScriptedServer(models=[info("own:7b", native=entry), info("ana/real")])
        backends = (backend_of(self.hosted, "cloud", "mistral"), backend_of(self.machine, "local", "ollama"))
        self.catalog = CatalogService(backends, 30, presets=Kept(*presets, hidden=hidden))
        self.recent = RecentModels()
        self.models = Models(self.catalog, self.recent, forward_pull=True, pull_hosts=("registry.ollama.ai",))
        generation = GenerationService(Admission(AdmissionLimits()))
        self.inference = Inference(Intake(self.catalog, generation, self.recent))

    async def names(self, principal: Principal = ANA) -> list[str]:
        return [model.name.short for model in await self.catalog.models(principal)]


async def test_a_preset_is_listed_and_found_with_the_candidates_of_its_base() -> None:
    rig = Rig(preset())
    assert await rig.names() == ["big:latest", "own:7b", "ana/real:latest", "ana/legal:latest"]
    for name, caller in (("ana/legal", BOB), ("ANA/Legal:latest", BOB), ("me/legal", ANA)):
        model = await rig.catalog.resolve(name, caller)
        assert (model.name.short, model.info, model.serves_itself) == ("ana/legal:latest", HOSTED, False)
    with pytest.raises(ModelNotFound):
        await rig.catalog.resolve("me/legal", BOB)


async def test_the_base_need_not_be_visible_but_the_agent_must_be_allowed() -> None:
    rig = Rig(preset())
    only_agent = replace(ANA, models=frozenset({name_of("ana/legal").key}))
    assert await rig.names(only_agent) == ["ana/legal:latest"]
    assert (await rig.catalog.resolve("me/legal", only_agent)).info is HOSTED
    only_base = replace(ANA, models=frozenset({name_of("big").key}))
    assert await rig.names(only_base) == ["big:latest"]
    with pytest.raises(ModelNotFound):
        await rig.catalog.resolve("me/legal", only_base)


async def test_a_backends_model_keeps_its_name() -> None:
    rig = Rig(preset("ana/real"))
    assert (await rig.names()).count("ana/real:latest") == 1
    assert (await rig.catalog.resolve("ana/real", ANA)).preset is None


async def test_without_its_base_a_preset_is_listed_nowhere_and_says_why() -> None:
    rig = Rig(preset(base="gone"))
    assert "ana/legal:latest" not in await rig.names()
    with pytest.raises(ModelNotFound, match="'gone:latest', is gone"):
        await rig.catalog.resolve("ana/legal", ANA)


async def test_an_unread_backend_is_named_before_a_base_is_said_to_be_gone() -> None:
    rig = Rig(preset())
    rig.hosted.models = ProviderUnreachable("away")
    with pytest.raises(ProviderUnreachable):
        await rig.catalog.resolve("ana/legal", ANA)


async def test_a_preset_is_described_as_its_base_under_its_own_name() -> None:
    rig = Rig(preset(), preset("ana/local", base="own:7b"))
    entries = {entry["name"]: entry for entry in json.loads(await rig.models.tags(ANA))["models"]}
    for name, parent in (("ana/legal:latest", "big:latest"), ("ana/local:latest", "own:7b")):
        entry = entries[name]
        assert (entry["details"]["parent_model"], len(entry["digest"])) == (parent, 64)
        assert entry["digest"] != entries[parent]["digest"]
        assert entry["modified_at"] == "2026-01-01T00:00:00.000000Z"
    rig.machine.description = {"details": {"family": "llama"}, "system": "base's", "parameters": "x 1", "tensors": []}
    shown = json.loads(await rig.models.show(b'{"model":"me/local"}', ANA, ""))
    assert (shown["system"], shown["details"]) == ("P", {"family": "llama", "parent_model": "own:7b"})
    assert shown["capabilities"] == ["completion"]
    assert "parameters" not in shown
    hosted = json.loads(await rig.models.show(b'{"model":"me/legal","system":"S"}', ANA, ""))
    assert (hosted["system"], hosted["model_info"]["general.basename"]) == ("S", "big")


async def test_a_machines_model_under_a_preset_is_asked_with_the_prompt_not_let_through() -> None:
    rig = Rig(preset("ana/local", base="own:7b"))
    for route, body in (
        ("chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("generate", {"prompt": "hi", "system": "S"}),
        ("generate", {"prompt": "hi", "raw": True}),
    ):
        answer = await getattr(rig.inference, route)(
            json.dumps({"model": "me/local", **body}).encode(), CallContext(ANA)
        )
        assert b'"model":"me/local"' in await drain(answer)
        await answer.aclose()
    assert rig.machine.sources == []
    chat, turn, raw = rig.machine.requests
    assert isinstance(chat, ChatRequest)
    assert isinstance(turn, ChatRequest)
    assert isinstance(raw, CompletionRequest)
    assert [message.text for message in chat.messages] == ["P", "hi"]
    assert [message.text for message in turn.messages] == ["P\n\nS", "hi"]
    assert (raw.prompt, raw.source, raw.model) == ("hi", None, "own:7b")
    [running] = json.loads(await rig.models.running(ANA))["models"]
    assert (running["name"], running["size_vram"]) == ("ana/local:latest", running["size"])
    hidden = Rig(hidden=[])
    hidden.recent.touch(name_of("ana/local").key, None)
    assert json.loads(await hidden.models.running(BOB)) == {"models": []}


async def test_loading_and_unloading_a_preset_is_answered_here() -> None:
    rig = Rig(preset("ana/local", base="own:7b"))
    reply = await rig.inference.chat(b'{"model":"me/local"}', CallContext(ANA))
    assert isinstance(reply, bytes)
    assert json.loads(reply)["done_reason"] == "load"
    assert rig.machine.sources == rig.machine.requests == []


async def test_embeddings_of_a_preset_are_those_of_its_base() -> None:
    rig = Rig(preset("ana/local", base="own:7b"))
    await rig.inference.embed(b'{"model":"me/local","input":"a"}', CallContext(ANA))
    [request] = rig.machine.requests
    assert isinstance(request, EmbedRequest)
    assert request.model == "own:7b"


@pytest.mark.parametrize(
    ("wanted", "last"),
    [
        ("ana/legal", "success"),
        ("me/typo", "pull model manifest: file does not exist"),
        ("ana/typo", "pull model manifest: file does not exist"),
        ("bob/secret", "pull model manifest: file does not exist"),
    ],
)
async def test_nothing_is_pulled_into_the_place_of_an_agent(wanted: str, last: str) -> None:
    rig = Rig(preset(), preset("bob/secret"), hidden=["bob/secret"])
    answer = await rig.models.pull(json.dumps({"model": wanted}).encode(), ANA)
    assert last in (await drain(answer)).decode().splitlines()[-1]
    assert rig.machine.pulled == []


@pytest.mark.parametrize("verb", ["delete", "push", "copy", "create"])
async def test_no_verb_for_machines_reaches_the_base_of_an_agent(verb: str) -> None:
    rig = Rig(preset("ana/local", base="own:7b"))
    management = Management(rig.catalog, ManagementRules(manage=True, push=True, registries=("registry.ollama.ai",)))
    body = {"model": "ana/local", "source": "ana/local", "destination": "x"}
    if verb == "create":
        body = {"model": "x", "from": "ana/local"}
    with pytest.raises(InvalidRequest, match="is an agent"):
        await getattr(management, verb)(json.dumps(body).encode(), ANA)


@pytest.mark.parametrize("verb", ["copy", "create"])
async def test_no_model_of_a_machine_takes_the_name_of_an_agent(verb: str) -> None:
    rig = Rig(preset("bob/secret"), hidden=["bob/secret"])
    management = Management(rig.catalog, ManagementRules(manage=True))
    body = {"model": "bob/secret", "from": "own:7b", "source": "own:7b", "destination": "bob/secret"}
    with pytest.raises(InvalidRequest, match="kept for an agent"):
        await getattr(management, verb)(json.dumps(body).encode(), ANA)
