"""Changing models: who may, on which machine, and under which names."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from backend.core.errors import ClientGone, GatewayError, InvalidRequest, NotPermitted
from backend.features.auth.principal import ANONYMOUS, EVERYTHING, Principal
from backend.features.catalog.backends import Backend
from backend.features.catalog.service import CatalogService
from backend.features.ollama_api.management import Management, ManagementRules
from backend.llm.errors import ModelNotFound, ModelWorkFailed, ProviderUnreachable
from backend.llm.names import parse_name
from tests.fakes.providers import ScriptedProvider, ScriptedServer, backend_of, drain, info

ALLOWED = ManagementRules(manage=True, push=True, registries=("registry.ollama.ai", "Hf.co"))
CALLER = Principal("caller")
DATA = b"GGUF and so on"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
OTHER = "sha256:" + "0" * 64


def native(*names: str) -> list[Any]:
    return [info(name, is_listed=False, native={"name": name, "model": name}) for name in names]


class Rig:
    """A hosted backend and two Ollama machines that share a model."""

    def __init__(self, rules: ManagementRules = ALLOWED, *, machines: bool = True) -> None:
        self.first = ScriptedServer(models=native("llama3:8b", "shared:latest", "evil.test/ns/m:1"))
        self.second = ScriptedServer(models=native("shared:latest", "only-second:latest"))
        backends: list[Backend] = [backend_of(ScriptedProvider(models=[info("big-model")]), "cloud", "mistral")]
        if machines:
            backends.append(backend_of(self.first, "one", "ollama"))
            backends.append(backend_of(self.second, "two", "ollama"))
        self.catalog = CatalogService(backends, 30)
        self.management = Management(self.catalog, rules)

    async def names(self) -> list[str]:
        return [model.name.short for model in await self.catalog.models(ANONYMOUS)]

    def untouched(self) -> bool:
        return not any(
            [*server.created, *server.pushed, *server.copied, *server.deleted, *server.blobs]
            for server in (self.first, self.second)
        )


@pytest.fixture
def rig() -> Rig:
    return Rig()


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def create_body(name: str = "new", base: str = "llama3:8b", **fields: Any) -> bytes:
    return body(model=name, **{"from": base}, **fields)


async def pieces_of(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


VERBS: dict[str, Callable[[Management, Principal], Awaitable[object]]] = {
    "create": lambda rules, caller: rules.create(create_body(), caller),
    "create from files": lambda rules, caller: rules.create(body(model="new", files={"a": DIGEST}), caller),
    "copy": lambda rules, caller: rules.copy(body(source="llama3:8b", destination="b"), caller),
    "delete": lambda rules, caller: rules.delete(body(model="llama3:8b"), caller),
    "push": lambda rules, caller: rules.push(body(model="llama3:8b"), caller),
    "has_blob": lambda rules, caller: rules.has_blob(DIGEST, caller),
    "put_blob": lambda rules, caller: rules.put_blob(DIGEST, pieces_of(DATA), caller),
}


class TestWhoMay:
    """The caller's permission and the operator's switch, both."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_both_together_let_it_through(self, rig: Rig, verb: str) -> None:
        await VERBS[verb](rig.management, Principal("admin", EVERYTHING))
        assert verb == "has_blob" or not rig.untouched()

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_caller_without_the_permission_is_told_what_to_do(self, rig: Rig, verb: str) -> None:
        with pytest.raises(NotPermitted, match="your key may not manage models; ask"):
            await VERBS[verb](rig.management, CALLER)
        assert rig.untouched()

    @pytest.mark.parametrize("verb", VERBS)
    async def test_nothing_is_forwarded_by_default(self, verb: str) -> None:
        rig = Rig(ManagementRules())
        setting = "GATEWAY_OLLAMA__PUSH" if verb == "push" else "GATEWAY_OLLAMA__MANAGE"
        with pytest.raises(NotPermitted, match=f"switched off here; .* {setting}"):
            await VERBS[verb](rig.management, ANONYMOUS)
        assert rig.untouched()

    async def test_pushing_has_a_switch_of_its_own(self) -> None:
        rig = Rig(ManagementRules(manage=True, registries=ALLOWED.registries))
        with pytest.raises(NotPermitted, match="GATEWAY_OLLAMA__PUSH"):
            await rig.management.push(body(model="llama3:8b"), ANONYMOUS)

    @pytest.mark.parametrize("verb", ["copy", "delete", "push", "create"])
    async def test_models_a_key_may_not_use_do_not_exist_for_it(self, rig: Rig, verb: str) -> None:
        limited = Principal("k", EVERYTHING, frozenset({"registry.ollama.ai/library/new:latest"}))
        with pytest.raises(ModelNotFound, match="not found"):
            await VERBS[verb](rig.management, limited)
        assert rig.untouched()

    async def test_a_name_a_key_may_not_use_cannot_be_made_by_it(self, rig: Rig) -> None:
        known = parse_name("llama3:8b")
        assert known is not None
        limited = Principal("k", EVERYTHING, frozenset({known.key}))
        for attempt in (
            rig.management.copy(body(source="llama3:8b", destination="only-second"), limited),
            rig.management.create(create_body("only-second"), limited),
        ):
            with pytest.raises(NotPermitted, match="your key may not use the name 'only-second:latest'"):
                await attempt
        assert rig.untouched()


class TestWithoutAMachine:
    """Hosted models only: each verb says why it cannot."""

    @pytest.mark.parametrize("verb", ["create", "create from files", "has_blob", "put_blob"])
    async def test_there_is_nowhere_to_keep_models(self, verb: str) -> None:
        with pytest.raises(InvalidRequest, match="there is no Ollama machine behind this gateway"):
            await VERBS[verb](Rig(machines=False).management, CALLER)

    @pytest.mark.parametrize(
        ("verb", "raw", "done"),
        [
            ("copy", body(source="big-model", destination="b"), "copied"),
            ("delete", body(model="big-model"), "deleted"),
            ("push", body(model="big-model"), "pushed"),
        ],
    )
    async def test_a_hosted_model_stays_as_it_is(self, verb: str, raw: bytes, done: str) -> None:
        for machines in (False, True):
            with pytest.raises(
                InvalidRequest, match=f"'big-model:latest' is served by backend 'cloud'.* can be {done}"
            ):
                await getattr(Rig(machines=machines).management, verb)(raw, CALLER)

    @pytest.mark.parametrize(
        ("verb", "raw", "text"),
        [
            ("delete", body(name="Nope"), r"^model 'Nope' not found$"),
            ("copy", body(source="Nope", destination="b"), r'^model "Nope" not found$'),
            ("push", body(name="Nope"), r"^model 'Nope' not found$"),
        ],
    )
    async def test_an_unknown_model_is_not_found_in_ollamas_words(self, verb: str, raw: bytes, text: str) -> None:
        for machines in (False, True):
            with pytest.raises(ModelNotFound, match=text):
                await getattr(Rig(machines=machines).management, verb)(raw, CALLER)


@pytest.mark.parametrize(
    ("verb", "raw", "text"),
    [
        ("create", body(), "invalid model name"),
        ("create", create_body("a b"), "invalid model name"),
        ("create", body(model="a"), "neither 'from' or 'files' was specified"),
        (
            "create",
            body(model="a", modelfile="FROM b"),
            "neither 'from' or 'files' was specified; send from, system, parameters and messages instead of modelfile",
        ),
        ("create", create_body(base="a b"), "invalid model name"),
        ("create", create_body(base="http://evil.test/x"), "invalid model name"),
        ("delete", body(), "model is required"),
        ("delete", body(name="a b"), 'name "a b" is invalid'),
        ("push", body(), "model is required"),
        ("push", body(model="a b"), "invalid model name"),
        ("copy", body(destination="b"), 'source "" is invalid'),
        ("copy", body(source="a:", destination="b"), 'source "a:" is invalid'),
        ("copy", body(source="a"), 'destination "" is invalid'),
        ("copy", body(source="a", destination="../b"), 'destination "../b" is invalid'),
        ("copy", body(source="x" * 5_000, destination="b"), f'source "{"x" * 100}" is invalid'),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_in_ollamas_words(rig: Rig, verb: str, raw: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await getattr(rig.management, verb)(raw, ANONYMOUS)
    assert caught.value.message == text
    assert rig.untouched()


class TestCreate:
    """On the machine that has what it is made of, under checked names."""

    @staticmethod
    async def created(rig: Rig, raw: bytes) -> list[Any]:
        answer = await rig.management.create(raw, ANONYMOUS)
        return [json.loads(line) for line in (await drain(answer)).splitlines()]

    async def test_progress_is_told_and_the_new_model_is_listed_at_once(self, rig: Rig) -> None:
        assert "NEW:latest" not in await rig.names()
        rig.first.progress = ({"status": "writing manifest"}, {"status": "success"})
        rig.first.models = native("llama3:8b", "NEW:latest")
        assert await self.created(rig, create_body("NEW", "LLAMA3:8B", system="s")) == [
            {"status": "writing manifest"},
            {"status": "success"},
        ]
        assert rig.first.created == [{"model": "NEW:latest", "from": "llama3:8b", "system": "s"}]
        assert "NEW:latest" in await rig.names()

    async def test_names_are_sent_in_our_spelling(self, rig: Rig) -> None:
        await self.created(rig, create_body("evil.test/x://registry.ollama.ai/a/b"))
        assert rig.first.created[0]["model"] == "a/b:latest"

    async def test_it_is_made_where_the_other_model_is(self, rig: Rig) -> None:
        await self.created(rig, create_body(base="only-second"))
        assert (rig.first.created, len(rig.second.created)) == ([], 1)

    async def test_what_is_made_of_files_is_made_where_they_are(self, rig: Rig) -> None:
        await self.created(rig, body(model="new", files={"a.gguf": DIGEST}))
        assert rig.first.created == [{"model": "new:latest", "files": {"a.gguf": DIGEST}}]
        await self.created(rig, create_body(base="shared", adapters={"a.gguf": DIGEST}))
        assert rig.first.created[1]["from"] == "shared:latest"
        assert rig.second.created == []

    async def test_files_on_one_machine_and_a_model_on_another_do_not_meet(self, rig: Rig) -> None:
        with pytest.raises(InvalidRequest, match="uploaded files are on backend 'one', but model 'only-second:latest'"):
            await rig.management.create(create_body(base="only-second", adapters={"a.gguf": DIGEST}), ANONYMOUS)
        assert rig.untouched()

    async def test_a_model_nobody_has_is_not_pulled_for_it(self, rig: Rig) -> None:
        for name in ("nope", "evil.test/ns/model"):
            with pytest.raises(ModelNotFound, match=f"'{name}' not found"):
                await rig.management.create(create_body(base=name), ANONYMOUS)
        assert rig.untouched()

    @pytest.mark.parametrize("name", ["evil.test/ns/m:2", "http://evil.test/ns/m", "127.0.0.1:9/ns/m", "EVIL.test/a/b"])
    async def test_no_name_leads_a_machine_to_a_strange_registry(self, rig: Rig, name: str) -> None:
        """A base that was removed meanwhile is downloaded from where its name says."""
        for attempt in (
            rig.management.create(create_body(name), ANONYMOUS),
            rig.management.copy(body(source="llama3:8b", destination=name), ANONYMOUS),
        ):
            with pytest.raises(NotPermitted, match=r"names at .* are not allowed here"):
                await attempt
        assert rig.untouched()
        await self.created(rig, create_body("HF.co/ns/m"))
        await self.created(rig, create_body("Registry.Ollama.AI/ns/m"))
        assert len(rig.first.created) == 2

    async def test_a_hosted_model_cannot_be_built_upon(self, rig: Rig) -> None:
        with pytest.raises(InvalidRequest, match=r"is served by backend 'cloud'.* can be built upon"):
            await rig.management.create(create_body(base="big-model"), ANONYMOUS)

    async def test_a_hosted_models_name_is_not_given_away(self, rig: Rig) -> None:
        for attempt in (
            rig.management.create(create_body("big-model"), ANONYMOUS),
            rig.management.copy(body(source="llama3:8b", destination="BIG-MODEL:latest"), ANONYMOUS),
        ):
            with pytest.raises(InvalidRequest, match="is a model of backend 'cloud'; choose another name"):
                await attempt
        assert rig.untouched()

    async def test_a_refusal_before_the_first_step_keeps_its_status(self, rig: Rig) -> None:
        rig.first.progress = (ModelNotFound("model not found"),)
        with pytest.raises(ModelNotFound, match="model 'llama3:8b' not found"):
            await rig.management.create(create_body(), ANONYMOUS)

    async def test_a_failure_later_is_the_last_line(self, rig: Rig) -> None:
        rig.first.progress = ({"status": "converting model"}, ModelWorkFailed("unknown type"))
        assert (await self.created(rig, create_body()))[-1] == {"error": "unknown type"}

    async def test_without_streaming_the_last_step_is_the_reply(self, rig: Rig) -> None:
        rig.first.progress = ({"status": "writing manifest"}, {"status": "success"})
        answer = await rig.management.create(create_body(stream=False), ANONYMOUS)
        assert (answer.is_streamed, await drain(answer)) == (False, b'{"status":"success"}')

    async def test_a_caller_who_leaves_stops_it(self, rig: Rig) -> None:
        rig.first.progress = ({"status": "a"}, {"status": "b"})
        answer = await rig.management.create(create_body(), ANONYMOUS)
        await anext(answer)
        await answer.aclose()
        assert rig.first.pulls_ended == 1


class TestPush:
    """Out of the house only to registries the operator named."""

    async def test_it_goes_from_one_machine_that_has_it(self, rig: Rig) -> None:
        answer = await rig.management.push(body(name="SHARED"), ANONYMOUS)
        assert await drain(answer) == b'{"status":"success"}\n'
        assert (rig.first.pushed, rig.second.pushed) == (["shared:latest"], [])

    async def test_other_registries_are_refused(self, rig: Rig) -> None:
        with pytest.raises(NotPermitted, match=r"pushing to evil\.test is not allowed here"):
            await rig.management.push(body(model="evil.test/ns/m:1", insecure=True), ANONYMOUS)
        assert rig.untouched()


class TestCopyAndDelete:
    """On every machine that lists the model."""

    async def test_every_machine_gives_its_own_a_second_name(self, rig: Rig) -> None:
        assert await rig.management.copy(body(source="Shared", destination="ns/Second"), ANONYMOUS) == b""
        assert rig.first.copied == rig.second.copied == [("shared:latest", "ns/Second:latest")]

    async def test_every_machine_removes_it_and_it_is_no_longer_listed(self, rig: Rig) -> None:
        assert "shared:latest" in await rig.names()
        assert await rig.management.delete(body(model="SHARED"), ANONYMOUS) == b""
        assert rig.first.deleted == rig.second.deleted == ["shared:latest"]
        rig.first.models = rig.second.models = ()
        assert await rig.names() == ["big-model:latest"]

    async def test_one_machine_that_no_longer_has_it_does_not_matter(self, rig: Rig) -> None:
        await rig.names()
        rig.first.refusal = ModelNotFound("model not found")
        await rig.management.delete(body(model="shared"), ANONYMOUS)
        await rig.management.copy(body(source="shared", destination="b"), ANONYMOUS)
        assert (rig.second.deleted, len(rig.second.copied)) == (["shared:latest"], 1)

    async def test_when_no_machine_has_it_any_more_it_is_not_found(self, rig: Rig) -> None:
        await rig.names()
        rig.first.refusal = rig.second.refusal = ModelNotFound("model not found")
        with pytest.raises(ModelNotFound, match=r"^model 'shared' not found$"):
            await rig.management.delete(body(model="shared"), ANONYMOUS)
        with pytest.raises(ModelNotFound, match=r'^model "shared" not found$'):
            await rig.management.copy(body(source="shared", destination="b"), ANONYMOUS)

    async def test_a_machine_that_fails_says_so_and_the_lists_are_read_again(self, rig: Rig) -> None:
        await rig.names()
        rig.second.refusal = ProviderUnreachable("backend 'two' cannot be reached")
        with pytest.raises(ProviderUnreachable):
            await rig.management.delete(body(model="shared"), ANONYMOUS)
        rig.first.models = native("fresh:latest")
        assert "fresh:latest" in await rig.names()

    async def test_a_backend_that_cannot_be_asked_does_not_block_a_new_name(self, rig: Rig) -> None:
        rig.second.models = ProviderUnreachable("gone")
        await rig.management.copy(body(source="llama3:8b", destination="b"), ANONYMOUS)
        assert rig.first.copied == [("llama3:8b", "b:latest")]


class TestBlobs:
    """Files pass through to the first machine, hashed on their way."""

    @pytest.mark.parametrize(
        "digest", [DIGEST, DIGEST.replace(":", "-"), DIGEST.replace(DIGEST[7:], DIGEST[7:].upper())]
    )
    async def test_a_new_file_is_stored_and_found(self, rig: Rig, digest: str) -> None:
        assert not await rig.management.has_blob(digest, ANONYMOUS)
        assert await rig.management.put_blob(digest, pieces_of(DATA[:4], DATA[4:]), ANONYMOUS)
        assert (rig.first.blobs, rig.second.blobs) == ({DIGEST: DATA}, {})
        assert await rig.management.has_blob(digest, ANONYMOUS)

    async def test_a_file_that_is_there_is_not_read_again(self, rig: Rig) -> None:
        rig.first.blobs[DIGEST] = DATA
        unread = pieces_of(RuntimeError("read"))
        assert not await rig.management.put_blob(DIGEST, unread, ANONYMOUS)

    @pytest.mark.parametrize("pieces", [(), (DATA,), (DATA, b"x")])
    async def test_a_file_that_is_not_what_it_says_never_becomes_whole(
        self, rig: Rig, pieces: tuple[bytes, ...]
    ) -> None:
        got = hashlib.sha256(b"".join(pieces)).hexdigest()
        with pytest.raises(InvalidRequest) as caught:
            await rig.management.put_blob(OTHER, pieces_of(*pieces), ANONYMOUS)
        assert caught.value.message == f'digest mismatch, expected "{OTHER}", got "sha256:{got}"'
        assert rig.first.blobs == {}

    async def test_a_sender_who_leaves_stores_nothing(self, rig: Rig) -> None:
        with pytest.raises(ClientGone):
            await rig.management.put_blob(DIGEST, pieces_of(DATA[:4], ClientGone()), ANONYMOUS)
        assert rig.first.blobs == {}

    @pytest.mark.parametrize("digest", ["", "x", "sha256:..", DIGEST[:-1], "sha256:" + "../" * 21 + "a"])
    async def test_what_is_not_a_digest_is_refused_whoever_asks(self, rig: Rig, digest: str) -> None:
        for caller in (ANONYMOUS, CALLER):
            for attempt in (
                rig.management.has_blob(digest, caller),
                rig.management.put_blob(digest, pieces_of(DATA), caller),
            ):
                with pytest.raises(GatewayError, match=r"^invalid digest format$") as caught:
                    await attempt
                assert caught.value.status == 400
