"""Documents whose files lie in a bucket: the same promises, and downloads that the S3 server gives."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from yarl import URL

from backend.core.config import Settings
from backend.core.config_s3 import S3Settings
from backend.features.knowledge import dispatcher as dispatching
from tests.fakes.s3 import S3Server
from tests.integration.accounts.conftest import ADMIN_EMAIL, PASSWORD, Side, open_side
from tests.integration.knowledge.conftest import (
    asked_by,
    gone,
    make_collection,
    member,
    passages,
    send,
    send_version,
    settled,
    upload,
)

Open = Callable[..., AbstractAsyncContextManager[Side]]
TEXT = b"The notice period is three months. canary"


@pytest.fixture
def server() -> Iterator[S3Server]:
    with S3Server() as started:
        yield started


@pytest.fixture
def opened(settings: Settings, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a gateway with a bucket, asked by its administrator."""
    monkeypatch.setattr(dispatching, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(dispatching, "_POLL_SECONDS", 0.05)

    @asynccontextmanager
    async def open_with(**values: Any) -> AsyncIterator[Side]:
        place = server.place()
        group = S3Settings(
            bucket=place.bucket,
            access_key_id=SecretStr(place.access_key_id),
            secret_access_key=SecretStr(place.secret_access_key),
            **values,
        )
        async with open_side(settings.model_copy(update={"s3_endpoint_url": server.url, "s3": group})) as side:
            await side.container.accounts.own.create_admin(ADMIN_EMAIL, PASSWORD)
            yield await side.as_user()

    return open_with


async def test_a_document_is_read_from_the_bucket_and_leaves_nothing_there(
    opened: Open, server: S3Server, settings: Settings
) -> None:
    async with opened() as side:
        document = await settled(side, await upload(side, await make_collection(side), TEXT))
        assert document["status"] == "ready"
        assert await passages(side, document["id"]) == [TEXT.decode()]
        assert sorted(server.keys()) == [f"documents/{document['id']}/1/{name}" for name in ("file", "pages")]
        assert not (settings.data_dir / "blobs").exists()
        await send_version(side, document["id"], b"Four months.")
        await settled(side, document["id"])
        assert sorted(server.keys()) == [f"documents/{document['id']}/2/{name}" for name in ("file", "pages")]
        assert list((settings.data_dir / "scratch").iterdir()) == []
        await side.ask("DELETE", f"/documents/{document['id']}")
        await gone(side, document["id"])
        assert server.keys() == []


async def test_a_download_is_an_address_for_those_who_may_read(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as side:
        document = await upload(side, await make_collection(side), TEXT, "été.txt")
        stranger = await member(side, "stranger")
        assert (await stranger.ask("GET", f"/documents/{document}/content")).status_code == 404
        assert (await asked_by(side, {}).ask("GET", f"/documents/{document}/content")).status_code == 401
        with capture_logs() as logs, caplog.at_level(logging.DEBUG):
            reply = await side.ask("GET", f"/documents/{document}/content")
        url = reply.headers["location"]
        assert (reply.status_code, reply.headers["cache-control"]) == (302, "no-store")
        assert "X-Amz-Expires=60&" in url
        async with aiohttp.ClientSession() as session, session.get(URL(url, encoded=True)) as file:
            assert await file.read() == TEXT
            assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9t%C3%A9.txt"
    told = f"{logs} {caplog.text}"
    assert "/api/v1/documents/{document_id}/content" in told, "something is logged, the template alone"
    assert "X-Amz-" not in told


async def test_the_gateway_passes_files_on_where_callers_cannot_reach_the_server(opened: Open) -> None:
    async with opened(redirect=False) as side:
        document = await upload(side, await make_collection(side), TEXT, "été.txt")
        reply = await side.ask("GET", f"/documents/{document}/content")
        assert (reply.status_code, reply.content) == (200, TEXT)
        assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9t%C3%A9.txt"
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_nothing_is_acknowledged_while_the_bucket_is_away(opened: Open, server: S3Server) -> None:
    async with opened() as side:
        place = await make_collection(side)
        server.answer_with(503)
        reply = await send(side, place, TEXT)
        assert (reply.status_code, "S3 server" in reply.text) == (503, True)
        assert (
            json.loads((await side.ask("GET", f"/documents?entity_type=collection&entity_id={place}")).content)["items"]
            == []
        )
        server.work_again()
        document = await settled(side, await upload(side, place, TEXT))
        assert document["status"] == "ready"


async def test_reading_goes_on_once_the_bucket_is_back(opened: Open, server: S3Server) -> None:
    async with opened() as side:
        await side.container.knowledge.dispatcher.aclose()
        document = await upload(side, await make_collection(side), TEXT)
        server.fail_after(1, "GET")
        side.container.knowledge.dispatcher.start()
        await server.failing()
        server.work_again()
        assert (await settled(side, document))["status"] == "ready"
