"""What every server that keeps models promises when models change."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.core.errors import ClientGone, InvalidRequest
from backend.llm.digests import BlobDigest
from backend.llm.errors import ModelNotFound, ModelWorkFailed, ProviderError
from backend.llm.ports import ModelServer
from backend.providers.ollama import OllamaProvider
from tests.fakes.providers import Answer, Asked, MockUpstream, ScriptedServer, info, until_error

DATA = b"GGUF and so on"
DIGEST = BlobDigest(hashlib.sha256(DATA).hexdigest())
STEPS = ({"status": "writing manifest"}, {"status": "success"})


class FakeMachine:
    """The fake the other tests stand on."""

    def __init__(self) -> None:
        self.server: ModelServer = (fake := ScriptedServer(models=[info("known:latest")]))
        self._fake = fake
        fake.progress = STEPS

    def fail_in_the_middle(self) -> None:
        self._fake.progress = (STEPS[0], ModelWorkFailed("no space left"))

    def stored(self) -> dict[str, bytes]:
        return self._fake.blobs

    def names(self) -> list[str]:
        return [name for _, name in self._fake.copied]


class Machine:
    """Ollama as far as these routes go, without a socket."""

    def __init__(self) -> None:
        self.up = MockUpstream(self._answer)
        self.server: ModelServer = OllamaProvider(self.up.upstream, list_timeout=1)
        self._lines: tuple[dict[str, str], ...] = STEPS
        self._blobs: dict[str, bytes] = {}
        self._names: list[str] = []

    def fail_in_the_middle(self) -> None:
        self._lines = (STEPS[0], {"error": "no space left"})

    def stored(self) -> dict[str, bytes]:
        return self._blobs

    def names(self) -> list[str]:
        return self._names

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/api/blobs/"):
            digest = asked.path.removeprefix("/api/blobs/")
            if asked.method == "HEAD":
                return Answer(status=200 if digest in self._blobs else 404)
            self._blobs[digest] = asked.body
            return Answer(status=201)
        if asked.path in {"/api/create", "/api/push"}:
            return Answer(b"".join(json.dumps(x).encode() + b"\n" for x in self._lines), 200, "application/x-ndjson")
        if (asked.body.get("source") or asked.body.get("model")) != "known:latest":
            return Answer(b'{"error":"model not found"}', 404)
        self._names.append(asked.body.get("destination", ""))
        return Answer()


Rig = FakeMachine | Machine


@pytest.fixture(params=[FakeMachine, Machine])
def rig(request: pytest.FixtureRequest) -> Rig:
    machine: Rig = request.param()
    return machine


async def pieces_of(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def test_it_has_the_ability(rig: Rig) -> None:
    assert isinstance(rig.server, ModelServer)


@pytest.mark.parametrize("verb", ["create", "push"])
async def test_progress_comes_step_by_step(rig: Rig, verb: str) -> None:
    steps = rig.server.create({"model": "new", "from": "known"}) if verb == "create" else rig.server.push("known")
    assert [step async for step in steps] == list(STEPS)


async def test_work_that_fails_keeps_what_came_before(rig: Rig) -> None:
    rig.fail_in_the_middle()
    steps, error = await until_error(rig.server.create({"model": "new"}), ModelWorkFailed)
    assert steps == [STEPS[0]]
    assert "no space left" in error.message


async def test_a_copy_is_made_of_a_known_model_alone(rig: Rig) -> None:
    await rig.server.copy("known:latest", "second:latest")
    with pytest.raises(ModelNotFound):
        await rig.server.copy("unknown:latest", "third:latest")
    assert rig.names() == ["second:latest"]


async def test_a_known_model_alone_can_be_deleted(rig: Rig) -> None:
    await rig.server.delete("known:latest")
    with pytest.raises(ModelNotFound):
        await rig.server.delete("unknown:latest")


@pytest.mark.parametrize("pieces", [(DATA,), (DATA[:3], DATA[3:]), tuple(bytes([byte]) for byte in DATA)])
async def test_a_stored_file_is_whole_and_found(rig: Rig, pieces: tuple[bytes, ...]) -> None:
    assert not await rig.server.has_blob(DIGEST)
    await rig.server.put_blob(DIGEST, pieces_of(*pieces))
    assert rig.stored() == {str(DIGEST): DATA}
    assert await rig.server.has_blob(DIGEST)


@pytest.mark.parametrize("error", [ClientGone(), InvalidRequest("digest mismatch"), ValueError("x")], ids=repr)
async def test_what_the_sender_raises_is_raised_and_nothing_is_stored(rig: Rig, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        await rig.server.put_blob(DIGEST, pieces_of(DATA, error))
    assert caught.value is error
    assert rig.stored() == {}


def machine_saying(answer: Any) -> OllamaProvider:
    return OllamaProvider(MockUpstream(answer).upstream, list_timeout=1)


@pytest.mark.parametrize(("status", "kind"), [(400, 400), (404, 404), (500, 502), (507, 502)])
async def test_a_machine_that_refuses_a_file_is_quoted_or_named(status: int, kind: int) -> None:
    provider = machine_saying(Answer(b'{"error":"digest mismatch"}', status))
    with pytest.raises(ProviderError) as caught:
        await provider.put_blob(DIGEST, pieces_of(DATA))
    assert caught.value.status == kind
