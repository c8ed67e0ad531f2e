"""Scans and pictures through the side API: taken where they can be read, refused or failed with a reason where not."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.core.config import Settings
from backend.features.knowledge import dispatcher as dispatching
from tests.fakes import documents
from tests.fakes.scripted_upstream import Reply, ScriptedUpstream, json_reply
from tests.fakes.tesseract import program
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side
from tests.integration.knowledge.conftest import make_collection, passages, send, send_version, settled, upload

Open = Callable[..., AbstractAsyncContextManager[Side]]
SAYS = "echo 'The notice period is three months.'"
NOTICE = "The notice period is three months."


@pytest.fixture
def opened(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a gateway with a program and a text recognition, asked by its administrator."""
    monkeypatch.setattr(dispatching, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(dispatching, "_POLL_SECONDS", 0.05)

    @asynccontextmanager
    async def open_with(ocr: str, does: str = "", **values: Any) -> AsyncIterator[Side]:
        if does:
            program(tmp_path / "bin", does)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        knowledge = settings.knowledge.model_copy(update={"ocr": ocr, "embedder": "none"})
        async with open_side(settings.model_copy(update={"knowledge": knowledge, **values})) as side:
            await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
            yield await side.as_user()

    return open_with


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [(documents.picture("x"), "a.png", "image/png"), (documents.scan("x"), "a.pdf", "application/pdf")],
    ids=["picture", "scan"],
)
async def test_what_is_on_a_picture_is_found(opened: Open, data: bytes, name: str, kind: str) -> None:
    async with opened("auto", SAYS) as side:
        place = await make_collection(side)
        document = await settled(side, await upload(side, place, data, name))
        assert (document["status"], document["mime_type"], document["error"]) == ("ready", kind, None)
        assert await passages(side, document["id"]) == [NOTICE]


async def test_without_recognition_pictures_are_not_taken_and_scans_fail_with_a_reason(opened: Open) -> None:
    async with opened("auto") as side:
        place = await make_collection(side)
        reply = await send(side, place, documents.picture("x"), "a.png")
        assert (reply.status_code, "text recognition is off" in reply.text) == (422, True)
        document = await settled(side, await upload(side, place, documents.scan("x"), "a.pdf"))
        assert document["status"] == "failed"
        assert "this document is a scan" in document["error"]
        reply = await send_version(side, document["id"], documents.picture("x"), "a.png")
        assert reply.status_code == 422


async def served(side: Side, upstream: ScriptedUpstream, *replies: Reply) -> dict[str, Any]:
    upstream.script("POST /v1/ocr", replies)
    place = await make_collection(side)
    return await settled(side, await upload(side, place, documents.mixed("Vingt-cinq jours.", "x"), "a.pdf"))


async def test_mistral_reads_scans_once_it_is_not_busy_any_more(opened: Open) -> None:
    with ScriptedUpstream() as upstream:
        mistral = {"mistral_api_key": SecretStr("key-of-mistral"), "mistral_base_url": upstream.url}
        async with opened("mistral", **mistral) as side:
            told = json_reply({"pages": [{"index": 1, "markdown": NOTICE}]})
            document = await served(side, upstream, json_reply({}, 429), json_reply({}, 500), told)
            assert document["status"] == "ready", document
            assert NOTICE in "\n".join(await passages(side, document["id"]))
            asked = upstream.calls("POST /v1/ocr")
            assert len(asked) == 3
            assert asked[-1].body["pages"] == [1]
            assert asked[-1].headers["authorization"] == "Bearer key-of-mistral"


async def test_what_mistral_refuses_fails_at_once(opened: Open) -> None:
    with ScriptedUpstream() as upstream:
        mistral = {"mistral_api_key": SecretStr("key-of-mistral"), "mistral_base_url": upstream.url}
        async with opened("mistral", **mistral) as side:
            document = await served(side, upstream, json_reply({"message": "bad file"}, 422))
            assert (document["status"], "bad file" in document["error"]) == ("failed", True)
            assert len(upstream.calls("POST /v1/ocr")) == 1


async def test_what_stays_busy_fails_in_the_end(opened: Open) -> None:
    with ScriptedUpstream() as upstream:
        mistral = {"mistral_api_key": SecretStr("key-of-mistral"), "mistral_base_url": upstream.url}
        async with opened("mistral", **mistral) as side:
            document = await served(side, upstream, json_reply({}, 503))
            assert (document["status"], "busy" in document["error"]) == ("failed", True)
            assert len(upstream.calls("POST /v1/ocr")) == 4
